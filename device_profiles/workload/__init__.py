"""Workloads: the operators, parts and tensors of a network, and the file that it is written to."""
