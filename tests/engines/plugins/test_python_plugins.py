"""The decode nodes as Python plugins with the real bindings of TensorRT 10.16 and 11.4, their launches run on a CPU.

The reference is decode_nodes/in_numpy.py, to the last bit; test_decode_graph.py compares it with the host decode.
"""

from __future__ import annotations

import pytest

from tests.tensorrt.bindings import run_over


@pytest.mark.slow
@pytest.mark.parametrize("major", [10, 11])
def test_python_plugins(major: int) -> None:
    run_over(major, "from tests.tensorrt.python_plugins import PARTS\nfor part in PARTS:\n    part(trt)")
