"""Heads as an ONNX graph: reading, folding and rewriting it."""
