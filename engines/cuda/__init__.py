"""CUDA from Python: devices, memory, streams and kernels, over either of two libraries."""
