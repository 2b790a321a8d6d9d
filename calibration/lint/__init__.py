"""The check of any ONNX file for what keeps it from running well in INT8 on NVIDIA's GPUs."""
