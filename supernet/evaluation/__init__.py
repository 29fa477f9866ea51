"""Recalibrating and scoring extracted subnets."""
