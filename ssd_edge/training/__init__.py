"""Training: samples → matched targets → MultiBox loss → checkpoint."""
