"""Seconds that ``ssd-edge --help`` takes, from start to exit."""

from __future__ import annotations

import subprocess
import sys
from time import perf_counter

from figure import Figure


def measure(runs: int = 7) -> Figure:
    """Return the quickest of several runs, after one that warms the disk's cache; other load can only add time."""
    command = [sys.executable, "-c", "from ssd_edge.cli.main import main; main()", "--help"]
    times = []
    for _ in range(runs + 1):
        began = perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(perf_counter() - began)
    value = min(times[1:])
    return Figure("startup", value, "s, best of 7", "<= 0.5", value <= 0.5, {"runs": times[1:]})
