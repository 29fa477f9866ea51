"""`report.html`: the models of a family, their accuracy and costs, and which of these numbers were measured."""
