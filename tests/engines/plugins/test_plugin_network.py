"""Decode by TensorRT's plugins, end to end with the real bindings, gives the CPU engine's detections to the last bit.

The reference is the CPU engine. On real frames benchmarks/plugin_equals_cpu.py does the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tensorrt.bindings import run_over

COMPARE = """
import numpy as np, tempfile
from pathlib import Path
from ssd_edge.engines.opening import open_model
from ssd_edge.engines.kernels import launch
from ssd_edge.engines.plugins import ahead_of_time
from tests.tensorrt.plugin_network import compare
{fault}
heads = Path({heads!r})
engine = open_model(heads)
frames = np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), np.uint8)
with tempfile.TemporaryDirectory() as folder:
    compared = compare(trt, {form!r}, engine, heads, frames, Path(folder), {batch})
engine.close()
assert compared.boxes > 0
assert not compared.leaks, compared
print(compared.frames, compared.equal)
"""


def equal_frames(major: int, form: str, heads: Path, fault: str = "", batch: int = 1) -> int:
    """Count the frames of five whose detections are equal."""
    printed = run_over(major, COMPARE.format(form=form, heads=str(heads), fault=fault, batch=batch))
    frames, equal = map(int, printed.splitlines()[-1].split())  # the bindings print warnings before
    assert frames == 5
    return equal


@pytest.mark.slow
@pytest.mark.parametrize("major", [10, 11])
@pytest.mark.parametrize("form", ["ahead-of-time", "python"])
def test_detections_are_the_cpus(heads_onnx: Path, major: int, form: str) -> None:
    assert equal_frames(major, form, heads_onnx) == 5


@pytest.mark.slow
@pytest.mark.parametrize("form", ["ahead-of-time", "python"])
def test_detections_of_a_batch_are_the_cpus(heads_onnx: Path, form: str) -> None:
    """A batch of three, then one of two, by one plan."""
    assert equal_frames(11, form, heads_onnx, batch=3) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "fault"), [("ahead-of-time", "ahead_of_time.TILE = 64"), ("python", "launch.TILE = 64")]
)
def test_a_wrong_launch_is_seen(heads_onnx: Path, form: str, fault: str) -> None:
    """Half of decode's blocks are missing."""
    assert equal_frames(11, form, heads_onnx, fault) < 5
