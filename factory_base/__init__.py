"""What all packages share: errors, atomic files, digests, documents with good errors, quantities, progress."""
