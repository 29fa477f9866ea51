"""Accuracy predictors, Optuna studies and the choice of a subnet per target. Knows no engine and no file of a release."""
