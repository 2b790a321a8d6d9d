"""The sample model: an ``ssdlite300_mobilenet_v2`` trained on BCCD, kept with its recipe in ``README.md`` beside it."""

from pathlib import Path

SAMPLE_CHECKPOINT = Path(__file__).parent / "bccd_ssdlite300.pt"
"""Where the demo trains on from; weights in FP16."""
