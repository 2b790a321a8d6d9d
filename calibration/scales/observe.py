"""One pass of the FP32 network over the images, one at a time: a histogram of each tensor that matters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge.calibration.scales.histograms import Histogram
from ssd_edge.errors import CalibrationError, ModelError
from ssd_edge.graph.session import EXACT, open_session


@dataclass
class Observations:
    """What a pass over the calibration images saw; ``observe`` adds to it image by image.

    Attributes:
        histograms: by tensor name.
        image_hashes: SHA-256 of each image as it entered the network, in order.
    """

    histograms: dict[str, Histogram]
    image_hashes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, tensors: Iterable[str]) -> Observations:
        """Of these tensors, nothing seen yet."""
        return cls({name: Histogram() for name in tensors})

    @property
    def num_images(self) -> int:
        """Images seen."""
        return len(self.image_hashes)

    @property
    def image_set_sha256(self) -> str:
        """One hash for all images; their order does not matter, as it does not to a histogram."""
        return hashlib.sha256("".join(sorted(self.image_hashes)).encode()).hexdigest()


def observe(
    network: bytes,
    seen: Observations,
    images: Iterable[npt.NDArray[np.float32]],
    each: Callable[[Observations], None] | None = None,
) -> None:
    """Run an FP32 network over images, one at a time, and count the values of its tensors.

    Args:
        network: a serialised ONNX model of one input that gives the tensors of ``seen`` among its outputs.
        seen: counted into. As many images as it holds already are passed over: a pass can be taken up again.
        images: (1, 3, H, W) float32, preprocessed.
        each: called after each image, when ``seen`` is whole.

    Raises:
        CalibrationError: no image; an image of another shape or dtype, a tensor that becomes NaN or infinite, or a
            model that ONNX Runtime refuses. Then ``seen`` is of no further use.
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


def session(network: bytes) -> Any:
    """ONNX Runtime's session of a serialised model, whose Q/DQ is computed as it stands, in float.

    Fused into integer kernels, it would be another sum on a processor without VNNI than on one with.

    Raises:
        CalibrationError: ONNX Runtime refuses it.
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
