"""TensorRT-RTX's real builder, which needs no GPU: whether it takes a file, and the precisions of its convolutions.

``python -m tests.calibration.rtx FILE.onnx FILE.plan`` builds in a separate process, since some files kill it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import onnx
import pytest

from ssd_edge.engines.nvidia.convolutions import asked_for
from ssd_edge.engines.tensorrt_rtx.layers import in_plan
from tests.helpers import ROOT


@dataclass(frozen=True)
class RtxPlan:
    """The plan that the builder made; empty if it refused the file or died."""

    content: bytes

    def convolutions(self, model: onnx.ModelProto) -> Mapping[str, str]:
        """Return the precision of each convolution in the plan, by the name of its node."""
        return in_plan(self.content, asked_for(model))


def plan_of(path: Path) -> RtxPlan:
    """Build for an RTX 30; skip the test if TensorRT-RTX is not installed."""
    if util.find_spec("tensorrt_rtx") is None:
        pytest.skip("TensorRT-RTX is not installed: pip install 'ssd-edge[rtx]'")
    made = path.with_suffix(".plan")
    made.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.calibration.rtx", str(path), str(made)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return RtxPlan(made.read_bytes() if made.is_file() else b"")


def main() -> None:
    """Build a plan and write it; write nothing if the file is refused."""
    import tensorrt_rtx as trt

    source, target = map(Path, sys.argv[1:])
    builder = trt.Builder(trt.Logger(trt.Logger.INTERNAL_ERROR))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, builder.logger)
    if parser.parse_from_file(str(source)):
        config = builder.create_builder_config()
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM86, 0)
        plan = builder.build_serialized_network(network, config)
        if plan is not None:
            target.write_bytes(memoryview(plan))


if __name__ == "__main__":
    main()
