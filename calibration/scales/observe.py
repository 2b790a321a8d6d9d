"""Observation: one pass of the FP32 network over the images fills a histogram for each tensor that gets a scale."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from ssd_edge.calibration.scales.histograms import Histogram
from ssd_edge.errors import CalibrationError, ModelError
from ssd_edge.graph.session import EXACT, Session, open_session


@dataclass
class Observations:
    """The histograms from a pass over the calibration images; ``observe`` adds to them image by image.

    Attributes:
        histograms: histogram of each tensor, by name.
        image_hashes: SHA-256 of each image as it entered the network, in order.
    """

    histograms: dict[str, Histogram]
    image_hashes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, tensors: Iterable[str]) -> Observations:
        """Return empty observations of these tensors."""
        return cls({name: Histogram() for name in tensors})

    @property
    def num_images(self) -> int:
        """Number of images observed."""
        return len(self.image_hashes)

    @property
    def image_set_sha256(self) -> str:
        """One hash for all images; like a histogram, it does not depend on their order."""
        return hashlib.sha256("".join(sorted(self.image_hashes)).encode()).hexdigest()


def observe(
    network: bytes,
    seen: Observations,
    images: Iterable[npt.NDArray[np.float32]],
    each: Callable[[Observations], None] | None = None,
) -> None:
    """Run an FP32 network over images, one at a time, and count the values of its tensors.

    Args:
        network: a serialised ONNX model with one input, whose outputs include the tensors of ``seen``.
        seen: the observations to add to. As many images as it already holds are skipped, so a pass can be resumed.
        images: (1, 3, H, W) float32 each, preprocessed.
        each: called after each image, when ``seen`` is complete for it.

    Raises:
        CalibrationError: there is no image, an image has another shape or dtype, a tensor becomes NaN or infinite, or
            ONNX Runtime refuses the model. After that ``seen`` must not be used.
    """
    runtime = session(network)
    (entry,) = runtime.get_inputs()
    outputs = [name for name in seen.histograms if name != entry.name]
    for image in islice(images, seen.num_images, None):
        _check_image(image, entry.shape)
        values = dict(zip(outputs, runtime.run(outputs, {entry.name: image}) if outputs else [], strict=True))
        values[entry.name] = image
        for name, histogram in seen.histograms.items():
            try:
                histogram.add(values[name])
            except ValueError:
                raise CalibrationError(
                    f"tensor {name!r} becomes NaN or infinite on calibration image {seen.num_images + 1}: "
                    "no scale fits that, so mend the model or leave the image out"
                ) from None
        seen.image_hashes.append(hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest())
        if each is not None:
            each(seen)
    if not seen.num_images:
        raise CalibrationError("calibration needs images, but got none")


def session(network: bytes) -> Session:
    """Open an ONNX Runtime session that computes a model's Q/DQ node by node, in float.

    If Q/DQ were fused into integer kernels, processors with and without VNNI would compute different sums.

    Raises:
        CalibrationError: ONNX Runtime refuses the model.
    """
    try:
        return open_session(network, settings=EXACT)
    except ModelError as error:
        raise CalibrationError(f"ONNX Runtime cannot load this model: {error}") from None


def _check_image(image: npt.NDArray[np.float32], shape: Sequence[int | str | None]) -> None:
    wanted = (1, *shape[1:])
    if image.dtype != np.float32 or image.shape != wanted:
        raise CalibrationError(
            f"a calibration image must be {wanted} float32, as preprocess gives it, but got {image.shape} {image.dtype}"
        )
