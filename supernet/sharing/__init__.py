"""Weight sharing: which slices of the supernet's parameters are a subnet's, and how a subnet runs on them."""
