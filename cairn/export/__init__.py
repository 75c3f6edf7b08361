"""Convert the Pipeline to an ONNX graph that agrees with it on every row."""
