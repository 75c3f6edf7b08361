"""The Pipeline as an ONNX graph, which agrees with it on every row."""
