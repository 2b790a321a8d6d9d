"""What carries heads into TensorRT-RTX: the compiler in a process of its own, the reading of its plans, the runtime."""
