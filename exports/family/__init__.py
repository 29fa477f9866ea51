"""A family on disk: artifacts, parity, the manifest, and later verification, comparison and field reports."""
