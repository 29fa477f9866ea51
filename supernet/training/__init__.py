"""Training a supernet: the sandwich rule, the optimizer, checkpoints, many processes."""
