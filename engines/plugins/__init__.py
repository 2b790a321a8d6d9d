"""Decode as plugins of TensorRT, in each of their forms."""
