"""The page's line for the system's OpenCV, on a machine whose page was played: with NumPy 2 it fails, as the page says.

PyPI's OpenCV of the same release, compiled for NumPy 1, stands in for the system's; it has no GStreamer.
"""

from __future__ import annotations

from collections.abc import Iterator

from rehearsal.environments import BESIDE, packages
from rehearsal.pages import beside, fits, messages
from rehearsal.play import Result, last_line
from rehearsal.player import Player, Ran
from rehearsal.process import ROOT

REFUSED = "OpenCV was compiled for NumPy 1, and NumPy 2 is installed"
RUNS = (
    "ssd-edge run parts.engine --camera 0",
    "ssd-edge run parts.onnx --camera photos/",
    "ssd-edge verify parts.engine",
)
"""Commands that are played with it: a camera on the GPU, files on the CPU, and the proof."""


def play_system_opencv(player: Player) -> Iterator[Result]:
    """Play the line's three commands, and ssd-edge before and after the last.

    Raises:
        FileNotFoundError: that OpenCV cannot be had.
    """
    page = (ROOT / player.machine.page).read_text()
    line = next(line for line in beside(page) if "python3-opencv" in line)
    apt, remove, older_numpy = line.split(" && ")
    version = player.machine.opencv.partition("==")[2]
    folder = packages(BESIDE / f"opencv-{version}", player.system_python, "--no-deps", player.machine.opencv)

    def result(what: str, ran: Ran, code: int, *says: str) -> Result:
        missing = [text for text in says if not fits(text, ran.out)]
        wrong = f"exit code {ran.code} instead of {code}: {last_line(ran.out)}" if ran.code != code else ""
        wrong = wrong or (f"{missing[0]!r} is not in {last_line(ran.out)!r}" if missing else "")
        return Result(player.machine.title, what, ran.how, wrong, ran.unverified)

    yield result(apt, player.play(apt), 0)
    player.system_site = (folder,)
    yield result(remove, player.play(remove), 0)
    promised = "" if REFUSED in messages(page) else "the page does not have its message"
    met = result(f"planted: NumPy 2 with the system's OpenCV {version}", player.play(RUNS[0]), 2, REFUSED)
    yield met if met.wrong else Result(met.machine, met.command, met.how, promised)
    named = result(f"ssd-edge doctor, of OpenCV {version}", player.play("ssd-edge doctor"), 0, "pip install 'numpy<2'")
    yield named
    yield result(older_numpy, player.play(older_numpy), 0)
    numbers = ".".join(version.split(".")[:3])
    yield result(f"ssd-edge doctor, of OpenCV {version}", player.play("ssd-edge doctor"), 0, f"OpenCV … {numbers}: ")
    for command in RUNS:
        says = "… of … detections in … images match" if "verify" in command else "… FPS, … frames of …"
        yield result(f"{command}, by OpenCV {version}", player.play(command), 0, says)
