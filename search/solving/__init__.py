"""The exact solver: the best subnets inside budgets, with a proof."""
