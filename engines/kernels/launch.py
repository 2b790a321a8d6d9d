"""The launch plan of kernels.cu: which kernels run for a model, on which buffers, with which grids and arguments.

Every caller (CUDA driver, TensorRT plugin, test on a CPU) launches exactly these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssd_edge.errors import BackendError
from ssd_edge.pixels import COEFFICIENTS, FORMATS, Layout
from ssd_edge.resize import averages, cuts, taps
from ssd_edge.spec import ModelSpec

SOURCE = Path(__file__).with_name("kernels.cu")

# As in common.cuh.
THREADS = 256
TILE = 32
CAPACITY = 1024
MERGERS = 8

_WARP = 32
_PLANES = 3

_MAX_GRID_Y = 65535  # of every GPU: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"


@dataclass(frozen=True)
class Buffer:
    """Device memory that a kernel reads or writes: C-contiguous, aligned to 16 bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Launch:
    """One kernel launch.

    Attributes:
        kernel: the kernel's name in kernels.cu.
        grid: number of blocks, (x, y, z).
        block: number of threads in a block, (x, y, z).
        inputs: names of the buffers that it reads; the first arguments.
        scalars: int32 values, a float as its bits; the next arguments.
        outputs: names of the buffers that it writes; the last arguments.
    """

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    inputs: tuple[str, ...]
    scalars: tuple[int, ...]
    outputs: tuple[str, ...]

    @property
    def arguments(self) -> tuple[str | int, ...]:
        """All arguments in the kernel's order."""
        return (*self.inputs, *self.scalars, *self.outputs)


def headers_of(source: Path = SOURCE) -> list[Path]:
    """List the files that a CUDA C++ source may include: those beside it."""
    return sorted(source.parent.glob("*.cuh"))


def source_digest() -> str:
    """Return the kernels' SHA-256, as CMake computes it: of the hexadecimal SHA-256 of each file, headers first."""
    digests = "".join(sha256(path.read_bytes()).hexdigest() for path in (*headers_of(), SOURCE))
    return sha256(digests.encode()).hexdigest()


def check_limits(spec: ModelSpec, batch: int = 1) -> None:
    """Check a model against the kernels' limits; the spec itself limits default boxes and classes.

    Raises:
        BackendError: top-k, detections, batch or input height are above a limit.
    """
    for what, value, most in (
        ("top_k", spec.top_k, CAPACITY),
        ("max_detections", spec.max_detections, CAPACITY),
        ("batch", batch, _MAX_GRID_Y),
        ("input height", spec.input_size[0], _MAX_GRID_Y),
    ):
        if value > most:
            raise BackendError(
                f"the GPU kernels hold {what} up to {most}, but this model has {value}: export it with a smaller one"
            )


def heads_buffers(spec: ModelSpec, batch: int, half: bool) -> Mapping[str, Buffer]:
    """Describe the network's tensors: ``image`` (B, 3, H, W), ``loc`` (B, A, 4) and ``logits`` (B, A, C)."""
    dtype = np.dtype(np.float16 if half else np.float32)
    return {
        "image": Buffer((batch, 3, *spec.input_size), dtype),
        "loc": Buffer((batch, spec.num_default_boxes, 4), dtype),
        "logits": Buffer((batch, spec.num_default_boxes, spec.num_classes), dtype),
    }


def between_buffers(spec: ModelSpec, batch: int) -> Mapping[str, Buffer]:
    """Describe the buffers between the decode kernels; boxes are xyxy in fractions of the image.

    decode writes ``all_boxes`` (B, A, 4) and ``all_scores`` (B, C−1, A), 0 where there is no candidate; select writes
    ``kept_boxes`` (B, C−1, K, 4), ``kept_scores`` (B, C−1, K), 0 where nothing was kept, and ``cut`` (B, C−1).
    """
    single, integer = np.dtype(np.float32), np.dtype(np.int32)
    boxes, labels = spec.num_default_boxes, len(spec.labels)
    return {
        "all_boxes": Buffer((batch, boxes, 4), single),
        "all_scores": Buffer((batch, labels, boxes), single),
        "kept_boxes": Buffer((batch, labels, spec.top_k, 4), single),
        "kept_scores": Buffer((batch, labels, spec.top_k), single),
        "cut": Buffer((batch, labels), integer),
    }


def result_buffers(spec: ModelSpec, batch: int) -> Mapping[str, Buffer]:
    """Describe the results that merge writes, best score first.

    ``num_detections`` (B,) int32, ``boxes`` (B, M, 4) float32 xyxy in fractions of the image, ``scores`` (B, M)
    float32, ``classes`` (B, M) int32 foreground indices, ``num_cut`` (B,) int32. Beyond the detections: 0, class −1.
    """
    single, integer = np.dtype(np.float32), np.dtype(np.int32)
    return {
        "num_detections": Buffer((batch,), integer),
        "boxes": Buffer((batch, spec.max_detections, 4), single),
        "scores": Buffer((batch, spec.max_detections), single),
        "classes": Buffer((batch, spec.max_detections), integer),
        "num_cut": Buffer((batch,), integer),
    }


def preprocess_launch(spec: ModelSpec, layout: Layout, half: bool) -> Launch:
    """Plan preprocess of one image: ``frame`` and ``taps`` → ``image`` (3, H, W).

    ``frame`` is uint8, of whole words: ``words(layout.nbytes)``; ``taps`` is made by ``preprocess_taps``.

    Args:
        spec: gives input size, channel order, mean, std and resize.
        layout: how the frame lies in its memory.
        half: whether ``image`` is FP16; otherwise it is FP32.

    Raises:
        BackendError: the frame is larger than the kernel's int32 can tell.
    """
    if layout.nbytes >= 1 << 31:
        raise BackendError(
            f"a frame has {layout.nbytes} bytes, but the GPU kernels take less than 2 GiB: reduce it first"
        )
    rows, columns = spec.input_size
    missing = (0,) * (_PLANES - len(layout.offsets))
    return Launch(
        f"ssd_preprocess{'_area' if _averages(spec, layout.size) else ''}_{'fp16' if half else 'fp32'}",
        (_ceil(columns, _WARP), _ceil(rows, THREADS // _WARP), 1),
        (THREADS, 1, 1),
        ("frame", "taps"),
        (
            list(FORMATS).index(layout.pixel_format),
            *layout.size,
            *(*layout.offsets, *missing),
            *(*layout.strides, *missing),
            *COEFFICIENTS[layout.colour],
            rows,
            columns,
            int(spec.channel_order == "rgb"),
            *map(bits, spec.mean),
            *map(bits, spec.std),
        ),
        ("image",),
    )


def preprocess_taps(spec: ModelSpec, frame_size: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Make the table that preprocess of a frame's size reads: of the image's rows, then of its columns; (n, 2) int32.

    It holds ``resize.taps``, or ``resize.cuts`` where the frame is averaged.
    """
    along = cuts if _averages(spec, frame_size) else taps
    tables = [np.stack(along(*axis), axis=1) for axis in zip(spec.input_size, frame_size, strict=True)]
    return np.concatenate(tables).astype(np.int32)


def words(nbytes: int) -> int:
    """Round up to whole words of 4 bytes, in which the kernel reads a frame."""
    return _ceil(nbytes, 4) * 4


def _averages(spec: ModelSpec, frame_size: tuple[int, int]) -> bool:
    return spec.resize == "area" and averages(frame_size, spec.input_size)


def decode_launches(spec: ModelSpec, batch: int, half: bool) -> tuple[Launch, ...]:
    """Plan decode, select and merge, which turn heads into results in this order on one stream.

    Args:
        spec: the model's spec; its default boxes, (A, 4) float32 cxcywh, are the buffer ``defaults``.
        batch: B.
        half: whether ``loc`` and ``logits`` are FP16; otherwise they are FP32.
    """
    boxes, labels = spec.num_default_boxes, len(spec.labels)
    return (
        decode_launch(
            batch,
            boxes,
            spec.num_classes,
            half,
            is_yxhw=int(spec.box_order == "yxhw"),
            is_sigmoid=int(spec.score_function == "sigmoid"),
            is_clipped=int(spec.clip_boxes == "before-nms"),
            score_threshold=spec.score_threshold,
            centre_variance=spec.variances[0],
            size_variance=spec.variances[1],
        ),
        select_launch(batch, labels, boxes, top_k=spec.top_k, nms_iou=spec.nms_iou),
        merge_launch(batch, labels, spec.top_k, max_detections=spec.max_detections),
    )


def decode_launch(
    batch: int,
    boxes: int,
    classes: int,
    half: bool,
    *,
    is_yxhw: int,
    is_sigmoid: int,
    is_clipped: int,
    score_threshold: float,
    centre_variance: float,
    size_variance: float,
) -> Launch:
    """Plan the kernel that turns heads into boxes and scores of all default boxes."""
    return Launch(
        "ssd_decode_fp16" if half else "ssd_decode_fp32",
        (_ceil(boxes, TILE), batch, 1),
        (THREADS, 1, 1),
        ("loc", "logits", "defaults"),
        (
            boxes,
            classes,
            is_yxhw,
            is_sigmoid,
            is_clipped,
            *map(bits, (score_threshold, centre_variance, size_variance)),
        ),
        ("all_boxes", "all_scores"),
    )


def select_launch(batch: int, labels: int, boxes: int, *, top_k: int, nms_iou: float) -> Launch:
    """Plan the kernel that keeps the best candidates of each class and suppresses duplicates."""
    return Launch(
        "ssd_select",
        (labels, batch, 1),
        (THREADS, 1, 1),
        ("all_boxes", "all_scores"),
        (boxes, labels, top_k, bits(nms_iou)),
        ("kept_boxes", "kept_scores", "cut"),
    )


def merge_launch(batch: int, labels: int, top_k: int, *, max_detections: int) -> Launch:
    """Plan the kernel that keeps the best detections of all classes."""
    return Launch(
        "ssd_merge",
        (MERGERS, batch, 1),
        (THREADS, 1, 1),
        ("kept_boxes", "kept_scores", "cut"),
        (labels, top_k, max_detections),
        ("num_detections", "boxes", "scores", "classes", "num_cut"),
    )


def bits(value: float) -> int:
    """Return the bits of a float32 as an int32."""
    return int(np.float32(value).view(np.int32))


def _ceil(number: int, size: int) -> int:
    return -(-number // size)
