"""The few things all packages share: the error root, atomic files, digests, documents, quantities, progress."""
