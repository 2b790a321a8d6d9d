"""The commands of docs/jetson.md and docs/rtx.md, played on recorded machines: JetPack 6.2 and 7.2, and an RTX 4090.

Each page is played from its first command to its last in one folder, in an environment that its own lines make, with
the Python of that system; each output is compared with what the page or ``rehearsal/expected.py`` says. Then each
message of its tables is provoked by a planted fault. The driver is emulated, TensorRT imitated, cameras recorded;
wheels are this processor's, but for the commands that qemu runs. Nothing here is a device's result.

``python benchmarks/jetson_rehearsal.py`` prints each command; with names of machines, it plays these alone. Its
environments take 3 GB, and the plays ten minutes.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from figure import Figure

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # for the recorded machines, which belong to the tests

from rehearsal.arm import play_on_arm  # noqa: E402
from rehearsal.environments import beside, libraries, system_python  # noqa: E402
from rehearsal.machines import MACHINES  # noqa: E402
from rehearsal.model import write_model  # noqa: E402
from rehearsal.newer_nvrtc import play_newer_nvrtc  # noqa: E402
from rehearsal.pipelines import play_pipelines  # noqa: E402
from rehearsal.planted import not_planted, play_planted  # noqa: E402
from rehearsal.play import Result, check_beside, play  # noqa: E402
from rehearsal.player import Player  # noqa: E402
from rehearsal.resolved import resolved  # noqa: E402
from rehearsal.system_opencv import play_system_opencv  # noqa: E402

NEWEST_CUDA = 13
"""Major release of the CUDA whose NVRTC is updated on machines that have it."""
NEVER = (
    "a board, a card, NVIDIA's driver, TensorRT's own builder and runtime, a camera, an RTSP server",
    "a Jetson's GStreamer elements: others of software stand in their place",
    "wheels of cp310 and cp312 for aarch64: resolved by uv, not imported",
    "rows of the tables without a message: slow cameras, heat",
)
"""What is played on no machine."""


def measure(only: Collection[str] = MACHINES) -> Figure:
    """Play both pages.

    Args:
        only: keys of the machines to play; without all of them, pipelines and ARM are left out.
    """
    results: list[Result] = []
    missing: dict[str, str] = {}
    for what, played in plays(only):
        try:
            for result in played():
                results.append(result)
                print(_line(result), file=sys.stderr, flush=True)
        except FileNotFoundError as error:
            missing[what] = str(error)
    right = [one for one in results if not one.wrong]
    wrong = {f"{one.machine}: {one.command}": one.wrong for one in results if one.wrong}
    wrong.update(dict.fromkeys(not_planted(), "no fault is planted for it"))
    detail = {
        "wrong": wrong,
        "how": dict(Counter(f"{one.machine}: {one.how}" for one in results)),
        "not verified": sorted({one.unverified for one in results if one.unverified}),
        "not played": [*NEVER, *(f"{what}: {reason}" for what, reason in missing.items())],
    }
    how = Counter(one.how for one in results)
    faults = sum(one.command.startswith("planted") for one in results)
    return Figure(
        "jetson-rehearsal",
        len(right),
        f"of {len(results)} commands are right, played on recorded machines",
        "all",
        not wrong and not missing,
        detail,
        f"{how['run']} run, {faults} of them with a planted fault; {how['answered']} answered by the recorded machine, "
        f"{how['resolved']} resolved, {how['parsed']} parsed",
    )


def plays(only: Collection[str]) -> Iterator[tuple[str, Callable[[], Iterator[Result]]]]:
    """List the plays by what they are; each may end in FileNotFoundError where something that it needs is missing."""
    scratch = tempfile.TemporaryDirectory(prefix="rehearsal.")
    with scratch as folder:
        model = Path(folder) / "model"
        model.mkdir()
        write_model(model)
        for name, machine in ((name, MACHINES[name]) for name in MACHINES if name in only):
            yield machine.title, lambda name=name: _played(name, Path(folder) / name, model)  # type: ignore[misc]
            yield f"pip lines of {machine.title}", lambda machine=machine: resolved(machine)  # type: ignore[misc]
        if len(only) == len(MACHINES):
            yield "pipelines", lambda: play_pipelines(model)
            yield "aarch64", lambda: play_on_arm(model)


def _played(name: str, folder: Path, model: Path) -> Iterator[Result]:
    machine = MACHINES[name]
    shutil.copytree(model, folder)
    player = Player(name, machine, folder, system_python(machine), beside=beside(machine), libraries=libraries())
    yield from play(player)
    yield from check_beside(player)
    yield from play_planted(player)
    if machine.device["release"] // 1000 >= NEWEST_CUDA:
        yield from play_newer_nvrtc(player)
    if machine.opencv:
        yield from play_system_opencv(player)


def _line(result: Result) -> str:
    verdict = f"WRONG: {result.wrong}" if result.wrong else "right"
    return f"{result.machine}: {result.how}: {result.command}: {verdict}"


def main() -> int:
    """Play, and print what was played on what and what was not; exit code 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machines", nargs="*", choices=[*MACHINES, []], help="machines to play; by default all")
    figure = measure(parser.parse_args().machines or MACHINES)
    for title, entries in figure.detail.items():
        print(f"\n{title}:")
        rows = entries.items() if isinstance(entries, dict) else ((one, "") for one in entries)
        print(*(re.sub(": $", "", f"  {name}: {value}") for name, value in rows), sep="\n")
    print(f"\n{figure.value} {figure.unit}")
    return int(not figure.met)


if __name__ == "__main__":
    sys.exit(main())
