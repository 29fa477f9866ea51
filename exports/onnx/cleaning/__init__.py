"""What turns the exporter's graph into the one that a file holds: fewer operators, no constant ones, telling names."""
