"""WebDataset: tar archives in which files of one name form a sample."""
