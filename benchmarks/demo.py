"""Minutes that the demo takes, and AP50 of the model that it trains."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

from figure import Figure


def measure() -> Figure:
    """Run ``ssd-edge demo`` in an empty folder, as a newcomer does."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from ssd_edge.cli.main import main; main()", "demo", "--json"]
        result = subprocess.run(
            [*command, "--output", f"{folder}/demo"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    detail = json.loads(result.stdout)
    minutes = detail["seconds"] / 60
    ap50 = detail["ap50"]["fp32"]
    detail.pop("video")
    pairs = (("AP50", detail["ap50"], ".3f"), ("AP", detail["ap"], ".3f"), ("FPS", detail["fps"], ".0f"))
    beside = "FP32, INT8: " + "; ".join(f"{n} {of['fp32']:{form}}, {of['int8']:{form}}" for n, of, form in pairs)
    return Figure("demo", minutes, "minutes", "<= 6, AP50 >= 0.90", minutes <= 6 and ap50 >= 0.90, detail, beside)
