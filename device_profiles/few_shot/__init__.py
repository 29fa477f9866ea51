"""A profile of a device that is not at hand, from a few networks measured on it."""
