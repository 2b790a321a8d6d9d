"""Images a second of training with freed memory kept for the next step, as a multiple of those by glibc's defaults.

Two trainings of the same model, in FP32, that take turns; the second has glibc's default in its environment, which
``freed_memory_kept`` leaves alone. What is gained depends on what a page of the system costs, on a virtual machine the
most. Needs 20 GB of memory.
"""

from __future__ import annotations

import os
import statistics
import sys
from typing import Any

from figure import Figure, peak_memory, real_data
from train_speed import child, go

MODEL, INPUT, BATCH = "ssdlite300_mobilenet_v2", "640x480", 16
TURNS, STEPS, WARM_UP = 5, 2, 4


def measure() -> Figure:
    """Measure both ways."""
    asked = {
        "model": MODEL,
        "input": INPUT,
        "batch": BATCH,
        "threads": os.cpu_count() or 1,
        "workers": 1,
        "data": str(real_data("data/bccd")),
    }
    training = (sys.executable, "own_steps.py", asked)
    with child(*training) as kept, child(*training, MALLOC_MMAP_MAX_="65536") as default:
        for one in (kept, default):
            go(one, WARM_UP)
        turns = [(go(kept, STEPS), go(default, STEPS)) for _ in range(TURNS)]
        memory = peak_memory(kept.pid), peak_memory(default.pid)
    ratio = statistics.median(b / a for a, b in turns)
    fast, slow = (BATCH * STEPS / statistics.median(seconds) for seconds in zip(*turns, strict=True))
    detail: dict[str, Any] = {
        "ratios": [round(b / a, 2) for a, b in turns],
        "images/s": {"kept": fast, "default": slow},
        "GB": {"kept": memory[0] / 1e9, "default": memory[1] / 1e9},
    }
    return Figure(
        "train-memory",
        ratio,
        f"× the images/s of training by glibc's defaults, {MODEL} at {INPUT}, batch {BATCH}",
        "> 1",
        ratio > 1,
        detail,
        f"{fast:.1f} against {slow:.1f} images/s; {memory[0] / 1e9:.1f} against {memory[1] / 1e9:.1f} GB at most",
    )


if __name__ == "__main__":
    print(measure())
