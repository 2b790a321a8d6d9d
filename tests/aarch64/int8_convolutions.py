"""How many convolutions of an INT8 file are in 8 bits on OpenVINO: ``python -m tests.aarch64.int8_convolutions FILE``.

``build/aarch64/python`` says it of ARM.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from ssd_edge.engines.openvino import core


def precisions(model: Any) -> Counter[str]:
    """Convolutions of a compiled model by what they are computed in: i8, u8, f32, as OpenVINO's runtime model says."""
    found: Counter[str] = Counter()
    for node in model.get_runtime_model().get_ops():
        info = node.get_rt_info()
        if info["layerType"].astype(str) == "Convolution":
            found[info["runtimePrecision"].astype(str)] += 1
    return found


if __name__ == "__main__":
    found = precisions(core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"}))
    print(f"{found['i8'] + found['u8']} of {found.total()} convolutions in 8 bits: {dict(found)}")
