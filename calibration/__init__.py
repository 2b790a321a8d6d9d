"""Calibration: takes FP32 heads and images, makes INT8 heads with explicit Q/DQ."""
