"""`report.html`: what a family is, how well it does, what it costs, and which of these figures were measured."""
