"""What a network asks of a device: operators, parts, tensors, and the file it is written to."""
