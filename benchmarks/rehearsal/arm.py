"""Commands for the CPU on an emulated ARM processor, with wheels for ARM: see tests/aarch64/root.py."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rehearsal.pages import fits
from rehearsal.play import Result, last_line
from rehearsal.process import ROOT

TITLE = "aarch64 by qemu, Debian's Python 3.11"
COMMANDS = {
    "ssd-edge doctor --json": '"openvino": {',
    "ssd-edge build-engine parts.onnx -o arm.engine --backend openvino": "proof holds: … of … detections",
    "ssd-edge run arm.engine --camera photos/ --every-frame --frames 5": "… FPS, 5 frames of …",
}
"""Commands, and what each is to print."""

_CODE = "from ssd_edge.cli.main import main; main()"


def play_on_arm(folder: Path) -> Iterator[Result]:
    """Play the commands in a folder with parts.onnx and photos/.

    Raises:
        FileNotFoundError: the emulated Python is not made.
    """
    from tests.aarch64.root import PYTHON

    if not PYTHON.is_file():
        raise FileNotFoundError(f"{PYTHON.relative_to(ROOT)} is not made: make {PYTHON.relative_to(ROOT)}")
    for command, wanted in COMMANDS.items():
        done = subprocess.run(
            [str(PYTHON), "-c", _CODE, *shlex.split(command)[1:]],
            cwd=folder,
            env={**os.environ, "XDG_CACHE_HOME": str(folder / ".cache"), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        out = done.stdout + done.stderr
        wrong = f"exit code {done.returncode}: {last_line(out)}" if done.returncode else ""
        wrong = wrong or ("" if fits(wanted, out) else f"{wanted!r} is not in {last_line(out)!r}")
        if "doctor" in command and not wrong:
            processor = json.loads(done.stdout)["machine"]["processor"][0]["value"]
            wrong = "" if "aarch64" in processor else f"the processor is {processor!r}"
        yield Result(TITLE, command, "run", wrong)
