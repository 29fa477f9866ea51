"""Image and text data: the sources, the splits, batches with augmentation, and the statistics for normalisation."""
