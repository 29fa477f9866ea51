"""Image data: where it comes from, how it is split, and the statistics that the network's first step needs."""
