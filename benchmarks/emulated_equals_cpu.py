"""Detections of the emulated GPU path compared with the CPU's, bit by bit, on frames of a real video.

OpenVINO, the CPU engine, computes the heads. The real host code makes copies and launches in their order, over the
emulated driver. The kernels are compiled from their own source and run on the CPU. The emulated driver runs in a
separate process.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from figure import Figure, in_a_process, real_data

from ssd_edge.engines.openvino import OpenVinoEngine
from ssd_edge.importing import import_onnx

if TYPE_CHECKING:
    from ssd_edge.detections import Detections

FRAMES = 50
SEEN = 0.3


def measure() -> Figure:
    """Run the comparison in another process, and return its result."""
    real_data("media/vtest.avi"), real_data("weights/pedestrian_ssdlite")
    detail: dict[str, Any] = in_a_process(__file__)
    return Figure(
        "emulated-equals-cpu",
        detail["equal frames"],
        f"of {FRAMES} frames with equal detections",
        f"{FRAMES}, to the last bit",
        detail["equal frames"] == FRAMES and detail["boxes"] > 0 and not detail["leaks"],
        detail,
        f"{detail['boxes']} boxes, {detail[f'boxes above {SEEN}']} of them above {SEEN}",
    )


def compare() -> dict[str, Any]:
    """Detect on the same frames by both paths, and count the frames with equal detections."""
    from ssd_edge.engines.cuda.device import Device
    from ssd_edge.engines.gpu.engine import GpuEngine
    from ssd_edge.engines.kernels.compiler import compile_kernels
    from ssd_edge.stream.sources import open_source
    from tests.cuda.emulated import use_emulated_driver
    from tests.cuda.host_heads import HostHeads

    emulated = use_emulated_driver()
    cubin = next(content for image, content in compile_kernels("sm_86").images.items() if image.kind == "cubin")
    description = Path(__file__).parent / "specs" / "pedestrian_ssdlite.json"
    with tempfile.TemporaryDirectory() as folder:
        heads = Path(folder) / "heads.onnx"
        spec = import_onnx(real_data("weights/pedestrian_ssdlite/pedestrian_300_raw.onnx"), description, heads)
        cpu = OpenVinoEngine(heads, spec, "FP32")
    device = Device()
    gpu = GpuEngine("emulated", HostHeads(cpu, device), device, cubin)
    on_cpu, on_gpu = cpu.detector(), gpu.detector()
    equal = boxes = seen = 0
    seconds = 0.0
    with open_source(str(real_data("media/vtest.avi")), realtime=False) as source:
        for _ in range(FRAMES):
            frame = source.read()
            assert frame is not None, "the video ends too early"
            wanted = on_cpu(frame.image)
            began = perf_counter()
            got = on_gpu(frame.image)
            seconds += perf_counter() - began
            equal += _equal(got, wanted)
            boxes += len(wanted)
            seen += len(wanted.above(SEEN))
    gpu.close()
    cpu.close()
    return {
        "equal frames": equal,
        "boxes": boxes,
        f"boxes above {SEEN}": seen,
        "leaks": emulated.leaks(),
        "seconds a frame, emulated": seconds / FRAMES,
    }


def _equal(got: Detections, wanted: Detections) -> bool:
    pairs = ((got.boxes, wanted.boxes), (got.scores, wanted.scores), (got.labels, wanted.labels))
    return got.num_cut == wanted.num_cut and all(np.array_equal(first, second) for first, second in pairs)


if __name__ == "__main__":
    print(json.dumps(compare()))
