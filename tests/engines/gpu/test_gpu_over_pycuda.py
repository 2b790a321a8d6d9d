"""The GPU engine from frame to detections over pycuda, which has no graphs, so that kernels are launched one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssd_edge.detector import HostDetector
from ssd_edge.engines.cuda.device import Device, open_driver
from ssd_edge.engines.gpu.engine import GpuEngine
from ssd_edge.engines.onnxruntime import OnnxRuntimeEngine
from ssd_edge.graph.heads import read_spec
from tests.cuda.emulated import Emulated
from tests.cuda.fixtures import use_pycuda
from tests.cuda.host_heads import HostHeads
from tests.engines.gpu.test_gpu import assert_equal, cubin, frames


@pytest.mark.parametrize(("adopt", "integrated"), [(False, 0), (True, 0), (False, 1)])
def test_detections_are_the_hosts_to_the_last_bit(
    emulated: Emulated, heads_onnx: Path, adopt: bool, integrated: int
) -> None:
    """``adopt`` means running in a context that pycuda made before, as pycuda.autoinit does."""
    use_pycuda()
    emulated.machine(integrated=integrated)
    driver = open_driver("pycuda")
    import pycuda.driver as pycuda

    context = pycuda.Device(0).make_context() if adopt else None
    cpu = OnnxRuntimeEngine(heads_onnx, read_spec(heads_onnx), "FP32")
    host = HostDetector(cpu)
    device = Device(driver=driver, adopt=adopt)
    engine = GpuEngine("emulated", HostHeads(cpu, device), device, cubin())
    detector = engine.detector()
    seen = 0
    for first, second in zip(frames(4, [(60, 80)]), frames(4, [(33, 200)]), strict=True):
        results = [detector.submit(frame) for frame in (first, second)]
        for frame, result in zip((first, second), results, strict=True):
            wanted = host(frame)
            assert_equal(result().detections, wanted)
            seen += len(wanted)
    assert seen > 50
    assert not {name for name in emulated.called() if "Graph" in name or "Capture" in name}
    engine.close()
    cpu.close()
    if context is not None:
        context.pop()
        context.detach()
