"""Tables that other programs export: CSV in all the ways of spreadsheet programs, and Parquet."""
