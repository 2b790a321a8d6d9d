"""Python plugins and the C++ library, driven by a small TensorRT in C++ that is built from NVIDIA's own headers.

The Python plugins use the real bindings. The reference is decode_nodes/in_numpy.py, to the last bit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.tensorrt.bindings import _libraries, run_over
from tests.tensorrt.native import cuda_headers, headers


def run(form: str, release: str, **environment: str) -> None:
    headers(release)
    cuda_headers()
    done = subprocess.run(
        [sys.executable, "-m", "tests.tensorrt.nodes_in_tensorrt", form, release],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("release", ["10.3", "11.1"])
def test_the_library(release: str) -> None:
    run("library", release)


@pytest.mark.parametrize(("major", "release"), [(10, "10.16"), (11, "11.1")])
def test_plugins_in_python(major: int, release: str) -> None:
    run_over(major, "")  # or skipped
    bindings: Path = ROOT / ".venv" / f"tensorrt-{major}"
    run("python", release, PYTHONPATH=str(bindings), LD_LIBRARY_PATH=str(_libraries(major)))
