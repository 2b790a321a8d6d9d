"""Corrections that bring INT8 heads closer to FP32 than rounding to the nearest does."""
