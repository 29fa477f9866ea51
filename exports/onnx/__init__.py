"""Writing, quantising and reading ONNX files, and the memory that they need."""
