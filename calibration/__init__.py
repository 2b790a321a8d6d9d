"""Heads in FP32 plus images in, explicit Q/DQ INT8 heads out."""
