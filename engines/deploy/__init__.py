"""A plan of TensorRT for programs other than ssd-edge: what they need beside it, written into one folder."""
