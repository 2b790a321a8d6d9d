"""The sample model: an ``ssdlite300_mobilenet_v2`` trained on BCCD; ``README.md`` in this folder has its recipe."""

from pathlib import Path

SAMPLE_CHECKPOINT = Path(__file__).parent / "bccd_ssdlite300.pt"
"""Checkpoint from which the demo continues training; its weights are FP16."""
