"""From a float32 ONNX file to one of another precision: `convert_precision` in `precision`."""
