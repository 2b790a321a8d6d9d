"""The decode nodes as TensorRT's ahead-of-time plugins (10.9 and later): PTX inside the engine, no Python at run time.

Each node is one launch of ``launch.py``; its geometry and scalars are expressions of the inputs' shapes, so that one
engine serves every batch of its profile. This module has no ``from __future__ import annotations``, because TensorRT
reads the types.
"""

# mypy: disable-error-code="untyped-decorator,no-any-return,no-untyped-def"
# TensorRT's bindings have no types.

from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge.engines.kernels.launch import MERGERS, THREADS, TILE, bits
from ssd_edge.engines.plugins.decode_graph import DOMAIN

# Attributes are declared as arrays of one number: for plain numbers TensorRT 10 calls int(array), which NumPy 2.4
# refuses. Not as npt.NDArray, which since NumPy 2.5 is an alias of a kind that TensorRT takes for no class.
Ints = np.ndarray[Any, np.dtype[np.int32]]
Floats = np.ndarray[Any, np.dtype[np.float32]]


def register(ptx: bytes) -> None:
    """Register the three operators with TensorRT, once in a process, before a graph with them is parsed.

    Args:
        ptx: PTX of kernels.cu for the GPU that the engine is for, see ``compiler.py``.
    """
    for operator in (_register_decode, _register_select, _register_merge):
        operator(ptx)


def _register_decode(ptx: bytes) -> None:
    import tensorrt as trt
    import tensorrt.plugin as trtp

    @trtp.register(f"{DOMAIN}::SsdDecode")
    def _(
        loc: trtp.TensorDesc,
        logits: trtp.TensorDesc,
        defaults: trtp.TensorDesc,
        is_yxhw: Ints,
        is_sigmoid: Ints,
        is_clipped: Ints,
        score_threshold: Floats,
        centre_variance: Floats,
        size_variance: Floats,
    ) -> tuple[trtp.TensorDesc, trtp.TensorDesc]:
        batch, boxes, classes = logits.shape_expr
        return _described((batch, boxes, 4), trt.float32), _described((batch, classes - 1, boxes), trt.float32)

    @trtp.aot_impl(f"{DOMAIN}::SsdDecode")
    def _(
        loc: trtp.TensorDesc,
        logits: trtp.TensorDesc,
        defaults: trtp.TensorDesc,
        is_yxhw: Ints,
        is_sigmoid: Ints,
        is_clipped: Ints,
        score_threshold: Floats,
        centre_variance: Floats,
        size_variance: Floats,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str | bytes, str | bytes, trtp.KernelLaunchParams, trtp.SymIntExprs]:
        batch, boxes, classes = logits.shape_expr
        kernel = "ssd_decode_fp16" if logits.dtype == trt.float16 else "ssd_decode_fp32"
        numbers = is_yxhw, is_sigmoid, is_clipped, score_threshold, centre_variance, size_variance
        return _launched(ptx, kernel, (trtp.cdiv(boxes, TILE), batch), (boxes, classes, *map(_scalar, numbers)))


def _register_select(ptx: bytes) -> None:
    import tensorrt as trt
    import tensorrt.plugin as trtp

    @trtp.register(f"{DOMAIN}::SsdSelect")
    def _(
        all_boxes: trtp.TensorDesc, all_scores: trtp.TensorDesc, top_k: Ints, nms_iou: Floats
    ) -> tuple[trtp.TensorDesc, trtp.TensorDesc, trtp.TensorDesc]:
        batch, labels, _ = all_scores.shape_expr
        most = _scalar(top_k)
        return (
            _described((batch, labels, most, 4), trt.float32),
            _described((batch, labels, most), trt.float32),
            _described((batch, labels), trt.int32),
        )

    @trtp.aot_impl(f"{DOMAIN}::SsdSelect")
    def _(
        all_boxes: trtp.TensorDesc,
        all_scores: trtp.TensorDesc,
        top_k: Ints,
        nms_iou: Floats,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str | bytes, str | bytes, trtp.KernelLaunchParams, trtp.SymIntExprs]:
        batch, labels, boxes = all_scores.shape_expr
        return _launched(ptx, "ssd_select", (labels, batch), (boxes, labels, _scalar(top_k), _scalar(nms_iou)))


def _register_merge(ptx: bytes) -> None:
    import tensorrt as trt
    import tensorrt.plugin as trtp

    @trtp.register(f"{DOMAIN}::SsdMerge")
    def _(
        kept_boxes: trtp.TensorDesc, kept_scores: trtp.TensorDesc, cut: trtp.TensorDesc, max_detections: Ints
    ) -> tuple[trtp.TensorDesc, trtp.TensorDesc, trtp.TensorDesc, trtp.TensorDesc, trtp.TensorDesc]:
        batch = kept_scores.shape_expr[0]
        most = _scalar(max_detections)
        return (
            _described((batch,), trt.int32),
            _described((batch, most, 4), trt.float32),
            _described((batch, most), trt.float32),
            _described((batch, most), trt.int32),
            _described((batch,), trt.int32),
        )

    @trtp.aot_impl(f"{DOMAIN}::SsdMerge")
    def _(
        kept_boxes: trtp.TensorDesc,
        kept_scores: trtp.TensorDesc,
        cut: trtp.TensorDesc,
        max_detections: Ints,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str | bytes, str | bytes, trtp.KernelLaunchParams, trtp.SymIntExprs]:
        batch, labels, top_k = kept_scores.shape_expr
        return _launched(ptx, "ssd_merge", (MERGERS, batch), (labels, top_k, _scalar(max_detections)))


def _launched(ptx: bytes, kernel: str, grid: tuple[Any, Any], scalars: tuple[Any, ...]) -> Any:
    import tensorrt.plugin as trtp

    params = trtp.KernelLaunchParams(grid_x=grid[0], grid_y=grid[1], block_x=THREADS)
    arguments = trtp.SymIntExprs(len(scalars))
    for index, scalar in enumerate(scalars):
        arguments[index] = trtp.SymInt32(scalar)
    return kernel, ptx, params, arguments


def _described(shape: tuple[Any, ...], dtype: Any) -> Any:
    import tensorrt.plugin as trtp

    return trtp.from_shape_expr(shape, dtype=dtype)


def _scalar(attribute: npt.NDArray[Any]) -> int:
    value = attribute[0].item()
    return bits(value) if isinstance(value, float) else int(value)
