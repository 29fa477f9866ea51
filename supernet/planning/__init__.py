"""Time and memory of a training run, measured before it starts, and a schedule that fits the limits."""
