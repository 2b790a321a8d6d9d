"""The real Python bindings of TensorRT 10 and 11, each imported in a child process over libraries that do nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import COMPILER, ROOT

SOURCE = ROOT / "tests" / "cuda" / "no_tensorrt.c"
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")


def run_over(major: int, code: str, seconds: float = 60) -> str:
    """Run code with ``trt`` as the module of TensorRT 10 or 11, and return its output; skip if it is not installed.

    Raises:
        AssertionError: the code failed.
    """
    bindings = ROOT / ".venv" / f"tensorrt-{major}"
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        pytest.skip("the bindings of TensorRT are for the Python of .venv")
    if not bindings.is_dir():
        pytest.skip(f"the bindings of TensorRT {major} are not installed: make test installs them")
    if not shutil.which(COMPILER):
        pytest.skip(f"no {COMPILER} for the libraries that the bindings of TensorRT load")
    done = subprocess.run(
        [sys.executable, "-c", f"import tensorrt_bindings as trt\n{code}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(bindings), "LD_LIBRARY_PATH": str(_libraries(major))},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _libraries(major: int) -> Path:
    """Build the libraries into a folder named by the hash of their source."""
    folder = ROOT / "build" / "tensorrt" / f"{major}-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in LIBRARIES:
        library = folder / f"lib{name}.so.{major}"
        if not library.exists():
            part = library.with_suffix(f".{os.getpid()}")
            soname = f"-Wl,-soname,{library.name}"
            subprocess.run([COMPILER, "-x", "c", "-shared", "-fPIC", soname, "-o", part, SOURCE], check=True)
            part.replace(library)
    return folder
