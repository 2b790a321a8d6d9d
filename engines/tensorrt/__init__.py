"""TensorRT: building, checking and running its plans."""
