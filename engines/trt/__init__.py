"""TensorRT: building and running its plans."""
