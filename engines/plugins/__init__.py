"""Decode on a GPU: the CUDA kernels, the plan of their launches, and their compiler."""
