"""The detectors in plain PyTorch: backbones, the SSD on top of them, and a dict of the published models."""
