"""Engines, exported files, parity, the manifest and its resolver: everything of a release, nothing of training."""
