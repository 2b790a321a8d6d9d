"""ssd-edge: train an SSD, calibrate it to INT8, build engines, run them on a camera."""

__version__ = "0.1.0"
