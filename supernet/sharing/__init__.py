"""Weight sharing: which slice of the supernet is whose parameter, and how a subnet runs on it."""
