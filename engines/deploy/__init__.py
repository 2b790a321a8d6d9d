"""Export a TensorRT plan for other programs, into a folder with everything that they need."""
