"""Device profiles, budgets, cost models, and the protocol of an inference engine. Importing it imports no torch."""
