"""Heads computed exactly: what an ONNX file says, whatever processor computes it.

Q/DQ means float arithmetic on a grid: QuantizeLinear rounds a float to a step, DequantizeLinear gives the float back,
and the convolution behind it adds floats. Engines fuse the three into integer kernels, which are fast, and right where
the processor's instructions are. Here nothing is fused: OpenVINO runs with its low-precision transformations off, twice
as fast as ONNX Runtime without optimisations, which computes the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from openvino.passes import ConstantFolding, Manager

from ssd_edge.engines.onnxruntime import precision_of
from ssd_edge.engines.openvino import CONFIG, OpenVinoEngine, read
from ssd_edge.spec import ModelSpec

NAME = "exact"


class ExactEngine(OpenVinoEngine):
    """Heads in an ONNX file, in float32 from end to end."""

    backend = NAME
    CONFIG: ClassVar = {**CONFIG, "LP_TRANSFORMS_MODE": "NO"}

    def _network(self, path: Path) -> Any:
        """With weights as the floats that their DequantizeLinear gives.

        Left as they are, OpenVINO takes them for compressed, and has no kernel for that where there is no AVX-512.
        """
        model, passes = read(path), Manager()
        passes.register_pass(ConstantFolding())
        passes.run_passes(model)
        return model


def open_exact(path: Path, spec: ModelSpec) -> ExactEngine:
    """Open heads in an ONNX file, FP32 or with Q/DQ.

    Raises:
        BackendError: OpenVINO refuses the file.
    """
    return ExactEngine(path, spec, precision_of(path))
