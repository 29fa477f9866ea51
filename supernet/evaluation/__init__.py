"""Recalibration, predictions and accuracy of extracted subnets."""
