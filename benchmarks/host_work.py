"""Microseconds of a processor's work to submit a frame to the GPU path, over the emulated driver.

A frame in the memory that the detector lends is not copied on the host; one in other memory is, once. The emulated
driver's own time is in both figures.
"""

from __future__ import annotations

import json
from statistics import median
from time import perf_counter

import numpy as np
from building import SSDLITE300
from figure import Figure, in_a_process

SIZE = (720, 1280)
FRAMES = 100


def measure() -> Figure:
    """Measure in another process, which the emulated driver gets for itself."""
    detail: dict[str, float] = in_a_process(__file__)
    return Figure(
        "host-work",
        detail["lent"],
        "µs to submit a frame from lent memory",
        "less than from other memory",
        detail["lent"] < detail["foreign"],
        detail,
        f"{detail['foreign']:.0f} µs from other memory, both with the emulated driver's own time",
    )


def compare() -> dict[str, float]:
    """Submit frames from both kinds of memory in turn, and take the median of each."""
    from ssd_edge.engines.cuda.device import Device
    from ssd_edge.engines.gpu.engine import GpuEngine
    from ssd_edge.engines.kernels.compiler import compile_kernels
    from ssd_edge.engines.kernels.launch import heads_buffers
    from ssd_edge.training.checkpoints import load_checkpoint
    from tests.cuda.emulated import use_emulated_driver
    from tests.cuda.host_heads import HostNetwork

    use_emulated_driver()
    spec = load_checkpoint(SSDLITE300).spec
    cubin = next(content for image, content in compile_kernels("sm_86").images.items() if image.kind == "cubin")
    bound, device = heads_buffers(spec, 1, half=False), Device()
    heads = {name: np.zeros(buffer.shape, buffer.dtype) for name, buffer in bound.items() if name != "image"}
    engine = GpuEngine("emulated", HostNetwork(spec, bound, lambda image: heads, device), device, cubin)
    detector = engine.detector(1.0)
    times: dict[str, list[float]] = {"lent": [], "foreign": []}
    foreign = np.zeros((*SIZE, 3), np.uint8)
    for _ in range(FRAMES):
        lent = detector.memory(foreign.size)[: foreign.size].reshape(foreign.shape)
        for kind, frame in (("lent", lent), ("foreign", foreign)):
            began = perf_counter()
            finish = detector.submit(frame)
            times[kind].append(perf_counter() - began)
            finish()
    engine.close()
    return {kind: 1e6 * median(seconds) for kind, seconds in times.items()}


if __name__ == "__main__":
    print(json.dumps(compare()))
