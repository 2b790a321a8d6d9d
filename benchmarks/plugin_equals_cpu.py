"""Detections of the TensorRT plugins compared with the CPU's, bit by bit, on frames of a real video.

The project's TensorRT code builds and runs the plan over a fake builder and runtime, which let the project's plugins
decode: ahead-of-time plugins, whose launches are evaluated, and Python plugins, which are called for each run. Plugins
are made through the real bindings of TensorRT 10 and 11; the GPU is emulated, see tests/tensorrt/plugin_network.py.
OpenVINO computes the heads; the kernels are compiled from their own source and run on the CPU.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figure import Figure, real_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FRAMES = 50
MAJORS = (10, 11)
PLUGINS = ("ahead-of-time", "python")

_CODE = """
import sys
sys.path.insert(0, {folder!r})
from plugin_equals_cpu import compared
compared(trt, {form!r})
"""


def measure() -> Figure:
    """Compare each release and form in a separate process."""
    sys.path.insert(0, str(ROOT))  # for the emulation, which belongs to the tests
    import pytest

    from tests.tensorrt.bindings import run_over

    real_data("media/vtest.avi"), real_data("weights/pedestrian_ssdlite")
    results: dict[str, dict[str, Any]] = {}
    for major in MAJORS:
        for form in PLUGINS:
            code = _CODE.format(folder=str(Path(__file__).parent), form=form)
            try:
                printed = run_over(major, code, seconds=600)
            except (AssertionError, pytest.skip.Exception) as error:
                raise FileNotFoundError(f"TensorRT {major}, {form}: {error}") from None
            results[f"TensorRT {major}, {form}"] = json.loads(printed.splitlines()[-1])
    equal = min(one["equal frames"] for one in results.values())
    boxes = {one["boxes"] for one in results.values()}
    met = equal == FRAMES and min(boxes) > 0 and not any(one["leaks"] for one in results.values())
    return Figure(
        "plugin-equals-cpu",
        equal,
        f"of {FRAMES} frames with equal detections",
        f"{FRAMES}, to the last bit, in each of {len(results)}",
        met,
        results,
        f"{max(boxes)} boxes; {'; '.join(results)}",
    )


def compared(trt: Any, form: str) -> None:
    """Compare one form of decode with the CPU engine, and print the result as JSON."""
    from ssd_edge.engines.openvino import OpenVinoEngine
    from ssd_edge.importing import import_onnx
    from tests.tensorrt.plugin_network import compare

    description = Path(__file__).parent / "specs" / "pedestrian_ssdlite.json"
    with tempfile.TemporaryDirectory() as folder:
        heads = Path(folder) / "heads.onnx"
        spec = import_onnx(real_data("weights/pedestrian_ssdlite/pedestrian_300_raw.onnx"), description, heads)
        cpu = OpenVinoEngine(heads, spec, "FP32")
        result = compare(trt, form, cpu, heads, list(_frames()), Path(folder))
        cpu.close()
    print(json.dumps({"equal frames": result.equal, "boxes": result.boxes, "leaks": result.leaks}))


def _frames() -> Iterator[np.ndarray]:
    from ssd_edge.stream.sources import open_source

    with open_source(str(real_data("media/vtest.avi")), realtime=False) as source:
        for _ in range(FRAMES):
            frame = source.read()
            assert frame is not None, "the video ends too early"
            yield frame.image
