"""The ahead-of-time plugins with TensorRT's real bindings: their launches, evaluated for real shapes, run on a CPU.

The reference is ``launch.py``'s plan and its results, which test_kernels.py compares with the host decode bit by bit.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from typing import get_origin

import numpy as np
import pytest

from ssd_edge.engines.plugins.ahead_of_time import Floats, Ints
from tests.cuda.build import BUILD, HERE
from tests.helpers import COMPILER, ROOT


@pytest.mark.parametrize("kind", [Ints, Floats])
def test_attributes_are_of_a_class(kind: object) -> None:
    """TensorRT calls issubclass on the annotation, which fails on NumPy 2.5's npt.NDArray, an alias without a class."""
    assert get_origin(kind) is np.ndarray
    assert not issubclass(kind, int)  # type: ignore[arg-type] # without an error


@pytest.mark.slow
@pytest.mark.parametrize(("major", "version"), [("10", "10.16.1.11"), ("11", "11.4.0.106")])
def test_launches_and_results_are_the_plans(major: str, version: str) -> None:
    folder = ROOT / ".venv" / f"tensorrt-{major}"
    if not folder.is_dir():
        cuda = "cu13" if platform.machine() == "aarch64" else "cu12"
        pytest.skip(f"pip install --no-deps --target {folder} tensorrt-{cuda}-bindings=={version}")
    libraries = BUILD / f"no_tensorrt-{major}"
    libraries.mkdir(parents=True, exist_ok=True)
    for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        file = f"lib{name}.so.{major}"
        stub = ["-shared", "-fPIC", f"-Wl,-soname,{file}", "-x", "c", str(HERE / "no_tensorrt.c")]
        subprocess.run([COMPILER, *stub, "-o", str(libraries / file)], check=True)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.cuda.ahead_of_time", major], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
