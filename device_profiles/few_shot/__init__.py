"""Few-shot profiles: a profile of a device that is not at hand, from a few networks that were measured on it."""
