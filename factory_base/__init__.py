"""The few things that all packages share: errors, atomic files, digests, readers of documents, quantities, progress."""
