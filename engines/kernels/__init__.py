"""The CUDA kernels: their source, their compiler, their launches, and what a decode node is to a runtime."""
