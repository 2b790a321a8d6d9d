"""Environments of other projects' packages, which cannot be installed beside ssd-edge's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TORCHVISION = ("torch==2.14.1", "torchvision==0.29.1")


def python_with(name: str, packages: tuple[str, ...], given_by: str = "") -> Path:
    """Return the Python of an environment in the build folder, which ``uv`` makes at the first use.

    Args:
        name: folder of the environment.
        packages: what to install.
        given_by: environment variable that may name another environment's Python.

    Raises:
        FileNotFoundError: uv is not installed, or the packages cannot be had.
    """
    if given := os.environ.get(given_by):
        return Path(given)
    sys.path.insert(0, str(HERE.parent))
    from tests.lowest import find_uv

    folder, uv = HERE.parent / "build" / name, find_uv()
    python = folder / "bin" / "python"
    if uv is None:
        raise FileNotFoundError("uv is not installed: make test installs it into .venv/uv")
    made = folder / ".installed"
    if not made.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        done = subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *packages], check=False)
        if done.returncode:
            raise FileNotFoundError(f"{' and '.join(packages)} could not be installed")
        made.touch()
    return python
