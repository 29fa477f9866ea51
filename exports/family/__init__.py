"""A family on disk: artifacts, parity, the manifest, and what is done with it later."""
