"""The decode nodes for ONNX Runtime, so that a whole FP32 graph with them runs in one call, for comparison.

They use onnxruntime-extensions, which keeps one registry of Python operators for the process; importing this module
fills it.
"""

from __future__ import annotations

from typing import Any

import onnxruntime
from onnxruntime_extensions import PyOp, get_library_path, onnx_op

from ssd_edge.engines.plugins.decode_graph import DOMAIN
from tests.decode_nodes import in_numpy

_FLOAT, _INT, _INT64 = PyOp.dt_float, PyOp.dt_int32, PyOp.dt_int64


@onnx_op(  # type: ignore[untyped-decorator]
    op_type=f"{DOMAIN}::SsdDecode",
    inputs=[_FLOAT] * 3,
    outputs=[_FLOAT] * 2,
    attrs={
        "is_yxhw": _INT64,
        "is_sigmoid": _INT64,
        "is_clipped": _INT64,
        "score_threshold": _FLOAT,
        "centre_variance": _FLOAT,
        "size_variance": _FLOAT,
    },
)
def _decode(*inputs: Any, **attributes: Any) -> Any:
    return in_numpy.decode(*inputs, **attributes)


@onnx_op(  # type: ignore[untyped-decorator]
    op_type=f"{DOMAIN}::SsdSelect",
    inputs=[_FLOAT] * 2,
    outputs=[_FLOAT, _FLOAT, _INT],
    attrs={"top_k": _INT64, "nms_iou": _FLOAT},
)
def _select(*inputs: Any, **attributes: Any) -> Any:
    return in_numpy.select(*inputs, **attributes)


@onnx_op(  # type: ignore[untyped-decorator]
    op_type=f"{DOMAIN}::SsdMerge",
    inputs=[_FLOAT, _FLOAT, _INT],
    outputs=[_INT, _FLOAT, _FLOAT, _INT, _INT],
    attrs={"max_detections": _INT64},
)
def _merge(*inputs: Any, **attributes: Any) -> Any:
    return in_numpy.merge(*inputs, **attributes)


def session_options() -> Any:
    """Make the options for an ``onnxruntime.InferenceSession`` that supports the decode nodes."""
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(get_library_path())
    return options
