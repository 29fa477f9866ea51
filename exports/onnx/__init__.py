"""Writing, quantising and reading ONNX files."""
