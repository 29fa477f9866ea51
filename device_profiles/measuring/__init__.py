"""Measuring networks in a real engine, on this machine or another one, and fitting a profile to them."""
