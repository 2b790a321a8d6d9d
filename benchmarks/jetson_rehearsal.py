"""The commands of docs/jetson.md and docs/rtx.md, played on recorded machines: JetPack 6.2, an RTX 4090.

Played here: each pip line is resolved for the Python and processor of each machine of its page; ``doctor``'s check of a
backend is asked on the recorded machine with planted faults, each of which must give the sentence that the page
promises. Each ``ssd-edge`` line is parsed by its command, and not run. Not played: the system's own commands (apt,
reboot), and what builds and runs engines.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from figure import Figure

if TYPE_CHECKING:
    from ssd_edge.machine.host import Host

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"docs/jetson.md": (("3.10", "aarch64"), ("3.12", "aarch64")), "docs/rtx.md": (("3.12", "x86_64"),)}
"""The Python and the processor of each machine that a page is for: JetPack 6.2 and 7.2, Ubuntu 24.04."""
PLANTED = {
    "NVRTC too new": ("docs/rtx.md", "tensorrt-rtx", {"nvidia-cuda-nvrtc": "13.5.37"}, "NVRTC 13.5 is newer than this"),
    "bindings too new": (
        "docs/jetson.md",
        "tensorrt",
        {"cuda-bindings": "13.5.0"},
        "cuda-bindings 13.5.0 needs a driver",
    ),
    "DLA's compiler missing": (
        "docs/jetson.md",
        "tensorrt",
        {},
        "libnvdla_compiler.so, which JetPack's TensorRT loads",
    ),
}
"""Page, backend, packages that are other ones, and the sentence that page and program give."""


def measure() -> Figure:
    """Play both pages."""
    sys.path.insert(0, str(ROOT))  # for the recorded machines, which belong to the tests
    wrong: dict[str, str] = {}
    number = 0
    for page, machines in PAGES.items():
        for (python, architecture), command in product(machines, commands((ROOT / page).read_text())):
            verdict = played(command, python, architecture)
            if verdict is not None:
                number += 1
                wrong.update({f"{command}, Python {python}": verdict} if verdict else {})
    for name in PLANTED:
        number += 1
        verdict = planted(name)
        wrong.update({name: verdict} if verdict else {})
    detail = {"wrong": wrong, "not played": "apt, reboot; ssd-edge lines are parsed, not run"}
    return Figure("jetson-rehearsal", number - len(wrong), f"of {number} commands are right", "all", not wrong, detail)


def commands(text: str) -> list[str]:
    """Find the command lines of a page: its indented blocks, without comments."""
    lines = re.findall(r"^    (\S.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return [line.split("    #")[0].strip() for line in lines]


def played(command: str, python: str, architecture: str) -> str | None:
    """Play a command; "" if it is right, else what is wrong; None if it is not played."""
    words = shlex.split(command, comments=True)
    if words[:2] == ["pip", "install"]:
        return _resolved([word.replace("/path/to/ssd-edge", str(ROOT)) for word in words[2:]], python, architecture)
    if words[:1] == ["ssd-edge"]:
        import typer.main

        from ssd_edge.cli.main import app

        group = typer.main.get_command(app)
        known = group.commands.get(words[1])  # type: ignore[attr-defined]
        if known is None:
            return f"there is no command {words[1]}"
        try:
            known.make_context(words[1], words[2:])
        except Exception as error:  # whatever the parser says
            return str(error)
        return ""
    return None


def planted(name: str) -> str:
    """Ask about a backend on a machine with a fault; "" if the page's sentence comes."""
    from ssd_edge.engines.readiness import READINESS, readiness

    page, backend, packages, promised = PLANTED[name]
    with tempfile.TemporaryDirectory() as folder:
        host = _machine(page, Path(folder), packages, without_dla=name.startswith("DLA"))
        ready = readiness(host, {backend: READINESS[backend]})[backend]
        said = "; ".join(f"{one.reason}: {one.remedy}" for one in (*ready.obstacles, *ready.to_build, *ready.notes))
    if promised not in said:
        return f"it says {said!r}"
    return "" if promised in (ROOT / page).read_text() else "the page does not have this sentence"


def _machine(page: str, folder: Path, packages: dict[str, str], without_dla: bool) -> Host:
    from tests.machine.machines import agx_orin_6, but, rtx_desktop

    if page == "docs/rtx.md":
        return but(rtx_desktop(folder), packages=packages)
    seen = {"tensorrt": "10.3.0", "cuda-bindings": "12.9.10", "nvidia-cuda-nvrtc-cu12": "12.6.85"}
    host = but(agx_orin_6(folder), packages={**seen, **packages})
    if without_dla:
        host.path("/usr/lib/aarch64-linux-gnu/nvidia/libnvdla_compiler.so").unlink()
    return host


def _resolved(requirements: list[str], python: str, architecture: str) -> str:
    from tests.lowest import find_uv

    uv = find_uv()
    if uv is None:
        raise FileNotFoundError("uv is not installed: make test installs it into .venv/uv")
    command = [uv, "pip", "compile", "--quiet", "--no-config", "--python-version", python, "-"]
    command += ["--cache-dir", str(ROOT / "build" / "cache" / "uv")]
    command += ["--python-platform", f"{architecture}-manylinux_2_35"]
    lines = [
        f"ssd-edge{name[len(str(ROOT)) :]} @ file://{ROOT}" if name.startswith(str(ROOT)) else name
        for name in requirements
    ]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[0]
