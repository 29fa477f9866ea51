"""Tables of examples: CSV, TSV, JSON Lines and Parquet files with columns of images or texts, labels and more."""
