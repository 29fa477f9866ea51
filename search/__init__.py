"""Accuracy predictors, Optuna studies, the choice of a subnet per target. Knows no engine and no release."""
