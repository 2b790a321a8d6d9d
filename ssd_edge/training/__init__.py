"""Train detectors: samples → matched targets → MultiBox loss → checkpoint."""
