"""TensorRT-RTX: compiling, checking and running its plans."""
