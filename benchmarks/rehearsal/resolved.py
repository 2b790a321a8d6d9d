"""The pip lines of a page, resolved for the Python and processor of its machine: that such wheels can be had."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator

from rehearsal.environments import CACHE, uv
from rehearsal.machines import JETSON, Machine
from rehearsal.pages import beside, commands
from rehearsal.play import Result
from rehearsal.process import ROOT


def resolved(machine: Machine) -> Iterator[Result]:
    """Resolve each pip line of the machine's page.

    Raises:
        FileNotFoundError: uv is not installed.
    """
    page = (ROOT / machine.page).read_text()
    own = [one for one in commands(page) if one.only in {"", machine.only}]
    parts = [part for one in own for part in one.parts] + [part for line in beside(page) for part in line.split(" && ")]
    architecture = "aarch64" if machine.page == JETSON else "x86_64"
    for part in dict.fromkeys(parts):
        words = shlex.split(part)
        if words[:2] == ["pip", "install"]:
            names = [word for word in words[2:] if not word.startswith("-")]
            title = f"{machine.title}: cp{machine.python.replace('.', '')}, {architecture}"
            yield Result(title, part, "resolved", _reason(names, machine.python, architecture))


def _reason(names: list[str], python: str, architecture: str) -> str:
    """Say why requirements cannot be had; "" if they can."""
    command = [
        uv(),
        "pip",
        "compile",
        "--quiet",
        "--no-config",
        "--no-python-downloads",
        "--python-version",
        python,
        "-",
    ]
    command += ["--cache-dir", str(CACHE), "--python-platform", f"{architecture}-manylinux_2_35"]
    lines = [
        f"ssd-edge{name.removeprefix('/path/to/ssd-edge')} @ file://{ROOT}" if name.startswith("/") else name
        for name in names
    ]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[0]
