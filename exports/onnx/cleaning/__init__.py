"""What turns the exporter's graph into that of a file: fewer operators, none on constants alone, meaningful names."""
