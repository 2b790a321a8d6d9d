"""The room for heads as an ONNX graph: read, folded, rewritten."""
