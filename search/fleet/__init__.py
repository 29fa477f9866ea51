"""Which few models should a whole fleet of devices get? See `search.fleet.program`."""
