"""Measuring networks in a real engine, here or on another machine, and fitting a profile to them."""
