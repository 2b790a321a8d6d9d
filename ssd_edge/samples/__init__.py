"""The sample model: an SSDLite-MobileNetV2 trained on BCCD; ``README.md`` in this folder has its recipe."""

from pathlib import Path

SAMPLE_CHECKPOINT = Path(__file__).parent / "bccd_ssdlite.pt"
"""Checkpoint from which the demo continues training; its weights are FP16."""
