"""Faults of real components on loopback, and how ``ssd-edge run`` lives through them.

make faults                                                     the table
PYTHONPATH=.:benchmarks python -m faults --only rtsp-killed     one row; --json for all that was reported
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from figure import Figure

_ROOT = Path(__file__).resolve().parents[2]


def measure() -> Figure:
    """Make all faults, in a process that finds the tests' servers."""
    folders = os.pathsep.join([str(_ROOT), str(_ROOT / "benchmarks")])
    command = [sys.executable, "-m", "faults", "--json"]
    ran = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": folders}, stdout=subprocess.PIPE, text=True, check=False
    )
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    if not rows:
        raise FileNotFoundError(f"the faults could not be made: exit code {ran.returncode}")
    missed = [row["fault"] for row in rows if not row["met"]]
    slowest = max((row["recovery"] for row in rows if row["recovery"] is not None), default=None)
    run = sum(not row["skipped"] for row in rows)
    return Figure(
        "faults",
        slowest,
        "seconds of the slowest recovery",
        "all survive, nothing corrupt or old, <= 2 s",
        not missed,
        {"rows": rows},
        f"{run - len(missed)} of {run} faults" + (f"; missed: {', '.join(missed)}" if missed else ""),
    )
