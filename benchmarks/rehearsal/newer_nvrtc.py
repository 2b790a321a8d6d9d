"""NVRTC as pip's newest, on a machine whose page was played: what still builds and runs, and the page's remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rehearsal.machines import JETSON
from rehearsal.pages import beside, commands, fits
from rehearsal.play import Result, last_line
from rehearsal.player import Player
from rehearsal.process import ROOT

UPDATE = "pip install -U nvidia-cuda-nvrtc"
"""The command of docs/rtx.md that brings a newer NVRTC."""

NEWER = "NVRTC 13.… is newer than this driver's CUDA 13.…, which refuses its PTX"
_REMEDY = r"pip install 'cuda-bindings==13\.0\.\*' 'nvidia-cuda-nvrtc==13\.0\.\*'"


def play_newer_nvrtc(player: Player) -> Iterator[Result]:
    """Update NVRTC, build and run an engine, and follow the remedy."""
    page = (ROOT / player.machine.page).read_text()
    jetson = player.machine.page == JETSON
    backend = "tensorrt" if jetson else "tensorrt-rtx"
    build = f"ssd-edge build-engine parts.onnx -o newer.engine --backend {backend}"
    instead = "decode python, not ahead-of-time: PTX by NVRTC 13.… is refused by this driver of CUDA 13.2"
    lines = [*(one.text for one in commands(page)), *beside(page)]
    remedy = next(line for line in lines if re.fullmatch(_REMEDY, line))
    doctor = f"ssd-edge doctor --backend {backend}"
    steps = (
        (UPDATE, ""),
        (doctor, NEWER),
        (build, instead if jetson else "proof holds: … of … detections"),
        ("ssd-edge run newer.engine --camera 0", f"newer.engine: {backend} FP16, on camera 0"),
        (remedy, ""),
        (doctor, f"{backend} can run here"),
    )
    for number, (command, says) in enumerate(steps):
        ran = player.play(command)
        wrong = f"exit code {ran.code}: {last_line(ran.out)}" if ran.code else ""
        if not wrong and not fits(says, ran.out):
            wrong = f"{says!r} is not in {last_line(ran.out)!r}"
        if not wrong and number == len(steps) - 1 and fits(NEWER, ran.out):
            wrong = f"after the remedy it still says {last_line(ran.out)!r}"
        yield Result(player.machine.title, f"planted: NVRTC of pip's newest release: {command}", ran.how, wrong)
