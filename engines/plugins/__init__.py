"""What carries the decode onto a GPU: CUDA kernels, the plan of their launches, and their compiler."""
