"""What a training will take, measured before it starts, and a schedule that fits the limits."""
