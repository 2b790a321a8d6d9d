"""What a play needs on this computer: the system's Python, and packages beside the program that emulations need."""

from __future__ import annotations

import subprocess
from pathlib import Path

from rehearsal.machines import Machine
from rehearsal.process import ROOT

CACHE = ROOT / "build" / "cache" / "uv"
BESIDE = ROOT / "build" / "rehearsal"


def system_python(machine: Machine) -> Path:
    """Find a Python of the version that a machine's system has.

    Raises:
        FileNotFoundError: this computer has none.
    """
    from tests.pythons import interpreter

    found = interpreter(machine.python)
    if found is None:
        raise FileNotFoundError(f"Python {machine.python}, which {machine.title} has, is not installed here")
    return Path(found)


def uv() -> str:
    """Return the path of uv.

    Raises:
        FileNotFoundError: it is not installed.
    """
    from tests.lowest import find_uv

    found = find_uv()
    if found is None:
        raise FileNotFoundError("uv is not installed: make test installs it into .venv/uv")
    return found


def packages(folder: Path, python: Path, *requirements: str) -> Path:
    """Install packages into a folder, once, and return it.

    Raises:
        FileNotFoundError: they cannot be had.
    """
    done = folder / ".installed"
    if not done.is_file() or done.read_text() != " ".join(requirements):
        command = [uv(), "pip", "install", "--quiet", "--no-config", "--cache-dir", str(CACHE), "--python", str(python)]
        ran = subprocess.run([*command, "--target", str(folder), *requirements], capture_output=True, text=True)
        if ran.returncode:
            raise FileNotFoundError(f"{', '.join(requirements)}: {ran.stderr.strip().splitlines()[-1]}")
        done.write_text(" ".join(requirements))
    return folder


def beside(machine: Machine) -> Path:
    """Return the folder with what a machine's emulations need: pytest, and the real bindings of its TensorRT.

    Raises:
        FileNotFoundError: they cannot be had.
    """
    python = system_python(machine)
    wanted = ["pytest", *([f"tensorrt-cu12-bindings=={machine.bindings}"] if machine.bindings else [])]
    return packages(BESIDE / f"beside-{machine.python}-{machine.bindings or 'none'}", python, *wanted)


def libraries() -> Path:
    """Return the folder of the libraries that the bindings load, which do nothing."""
    from tests.tensorrt.bindings import _libraries

    return _libraries(10)
