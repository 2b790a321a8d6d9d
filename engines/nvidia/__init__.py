"""Parts that TensorRT and TensorRT-RTX share."""
