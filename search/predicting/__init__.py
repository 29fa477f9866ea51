"""Accuracy predictors, fitted to the scores of subnets."""
