"""FP32 heads and images in, INT8 heads out: one pass over the images, then scales, then Q/DQ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ssd_edge.calibration.graph import choose, count_convolutions, read_heads, with_outputs
from ssd_edge.calibration.histograms import observe
from ssd_edge.calibration.qdq import insert_qdq
from ssd_edge.calibration.scales import DEFAULT_METHOD, METHODS, find_scales
from ssd_edge.errors import CalibrationError
from ssd_edge.files import sha256, written_whole
from ssd_edge.spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class CalibrationResult:
    """What calibration made.

    Attributes:
        path: the INT8 ONNX file.
        method: a name of ``METHODS``.
        num_images: images that the scales come from.
        image_set_sha256: one hash for all these images as they entered the network.
        scales: of each quantised activation, by tensor name.
        num_quantised: convolutions that became INT8.
        num_convolutions: all convolutions.
    """

    path: Path
    method: str
    num_images: int
    image_set_sha256: str
    scales: Mapping[str, float]
    num_quantised: int
    num_convolutions: int


def calibrate(
    heads: Path,
    output: Path,
    images: Iterable[npt.NDArray[np.float32]],
    *,
    method: str = DEFAULT_METHOD,
    skip: Sequence[str] = (),
    depthwise: bool = False,
    progress: Callable[[int], None] | None = None,
) -> CalibrationResult:
    """Make an INT8 ONNX file (explicit Q/DQ) of FP32 heads.

    Args:
        heads: the FP32 ONNX file.
        output: the file to write; it appears whole or not at all.
        images: (1, 3, H, W) float32 each, from ``ssd_edge.preprocess.preprocess``; read once, one at a time.
        method: a name of ``METHODS``.
        skip: names of convolutions to leave in float.
        depthwise: whether depthwise convolutions become INT8 too: they gain little and make RTX engines larger.
        progress: called after each image with the number of images done.

    Raises:
        CalibrationError: the heads, the images, the method or a name to skip cannot be used, an activation is not
            finite, or the file cannot be written.
        SpecError: the heads carry a model spec that is not valid.
    """
    if method not in METHODS:
        raise CalibrationError(f"the calibration method must be one of {', '.join(METHODS)}, but got {method!r}")
    model = read_heads(heads)
    chosen = choose(model, skip=skip, depthwise=depthwise)
    tensors = list(dict.fromkeys(convolution.entry for convolution in chosen))
    seen = observe(with_outputs(model, tensors), tensors, images, progress)
    scales = find_scales(seen.histograms, method)
    quantised = insert_qdq(model, chosen, scales)
    _add_provenance(
        quantised,
        parent=heads.name,
        parent_sha256=sha256(heads),
        calibration_method=method,
        calibration_images=str(len(seen.image_hashes)),
        calibration_images_sha256=seen.image_set_sha256,
    )
    _write(quantised, output)
    return CalibrationResult(
        path=output,
        method=method,
        num_images=len(seen.image_hashes),
        image_set_sha256=seen.image_set_sha256,
        scales=scales,
        num_quantised=len(chosen),
        num_convolutions=count_convolutions(model),
    )


def scales_to_json(scales: Mapping[str, float]) -> str:
    """JSON text: {tensor name: scale}, in the network's order; the numbers read back exactly."""
    return json.dumps(dict(scales), indent=2)


def _add_provenance(model: onnx.ModelProto, **facts: str) -> None:
    """Record facts in the model's spec, where it carries one."""
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = ModelSpec.from_text(entry.value).with_provenance(**facts).to_text()


def _write(model: onnx.ModelProto, path: Path) -> None:
    try:
        with written_whole(path) as partial:
            partial.write_bytes(model.SerializeToString())
    except OSError as error:
        raise CalibrationError(f"cannot write {path}: {error.strerror}") from None
