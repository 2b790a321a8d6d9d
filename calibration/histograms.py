"""Histograms of |x| of activations, gathered in one pass over the images; their memory does not grow with the pass."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ssd_edge.errors import CalibrationError

NUM_BINS = 4096
"""Bins of a histogram. Its range is below twice the largest value, so at least half of them are in use."""

# Values counted at once: few enough for a processor's cache.
_CHUNK = 1 << 16

# Of the smallest float32, 2^−149: where every range starts.
_LEAST_EXPONENT = -148


@dataclass
class Histogram:
    """How often each magnitude |x| > 0 was met, in ``NUM_BINS`` equal bins over 0 … 2^exponent.

    The range is the smallest power of two above the largest value so far, so that bins merge without error when it
    grows: the histogram does not depend on the order of the data, and those of parts add up to that of the whole.

    Zeros are counted apart: a symmetric grid holds zero exactly at every scale, so they must not weigh on its choice,
    and behind a ReLU they are most of the data.

    Attributes:
        counts: (NUM_BINS,) int64.
        exponent: of the range.
        zeros: how many values were exactly 0.
        amax: the largest |x|.
    """

    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(NUM_BINS, np.int64))
    exponent: int = _LEAST_EXPONENT
    zeros: int = 0
    amax: float = 0.0

    @property
    def bin_width(self) -> float:
        """In units of x."""
        return math.ldexp(1.0, self.exponent) / NUM_BINS

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count values of any shape.

        Raises:
            ValueError: one of them is NaN or infinite.
        """
        flat = values.reshape(-1)
        amax = max(float(flat.max(initial=0.0)), -float(flat.min(initial=0.0)))
        if not math.isfinite(amax):
            raise ValueError("a histogram takes finite values only")
        if amax > 0.0:
            self._grow(math.frexp(amax)[1])
        for start in range(0, flat.size, _CHUNK):
            # A float64 holds x divided by a power of two without rounding: no value lands in its neighbour's bin.
            magnitudes = np.abs(flat[start : start + _CHUNK], dtype=np.float64)
            magnitudes *= 1.0 / self.bin_width
            self.counts += np.bincount(magnitudes.astype(np.int64), minlength=NUM_BINS)
        num_zeros = flat.size - int(np.count_nonzero(flat))
        self.counts[0] -= num_zeros
        self.zeros += num_zeros
        self.amax = max(self.amax, amax)

    def merge(self, other: Histogram) -> None:
        """Count all that another histogram counted; that one is left as it was."""
        self._grow(other.exponent)
        self.counts += _coarser(other.counts, self.exponent - other.exponent)
        self.zeros += other.zeros
        self.amax = max(self.amax, other.amax)

    def _grow(self, exponent: int) -> None:
        """Widen the range to at least 2^exponent."""
        if exponent > self.exponent:
            self.counts = _coarser(self.counts, exponent - self.exponent)
            self.exponent = exponent


def _coarser(counts: npt.NDArray[np.int64], doublings: int) -> npt.NDArray[np.int64]:
    """The same data over a range 2^doublings times as wide."""
    merged = np.zeros_like(counts)
    sums = counts.reshape(-1, min(1 << doublings, NUM_BINS)).sum(axis=1)
    merged[: len(sums)] = sums
    return merged


@dataclass(frozen=True)
class Observations:
    """What one pass over the calibration images saw.

    Attributes:
        histograms: by tensor name.
        image_hashes: SHA-256 of each image as it entered the network, in order.
    """

    histograms: dict[str, Histogram]
    image_hashes: tuple[str, ...]

    @property
    def image_set_sha256(self) -> str:
        """One hash for all images; their order does not matter, as it does not to a histogram."""
        return hashlib.sha256("".join(sorted(self.image_hashes)).encode()).hexdigest()


def observe(
    model: bytes,
    tensors: Sequence[str],
    images: Iterable[npt.NDArray[np.float32]],
    progress: Callable[[int], None] | None = None,
) -> Observations:
    """Run an FP32 network over images, one at a time, and count the values of its tensors.

    Args:
        model: a serialised ONNX model of one input that gives ``tensors`` among its outputs.
        tensors: names of outputs, and of the input if it is to be counted.
        images: (1, 3, H, W) float32, preprocessed.
        progress: called after each image with the number of images done.

    Raises:
        CalibrationError: no image; an image of another shape or dtype, a tensor that becomes NaN or infinite, or a
            model that ONNX Runtime refuses.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what matters is raised
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception classes have no common base
        raise CalibrationError(f"ONNX Runtime cannot load this model: {str(error).splitlines()[0]}") from None
    (entry,) = session.get_inputs()
    outputs = [name for name in tensors if name != entry.name]
    histograms = {name: Histogram() for name in tensors}
    hashes: list[str] = []
    for image in images:
        _check_image(image, entry.shape)
        values = dict(zip(outputs, session.run(outputs, {entry.name: image}) if outputs else [], strict=True))
        values[entry.name] = image
        for name, histogram in histograms.items():
            try:
                histogram.add(values[name])
            except ValueError:
                raise CalibrationError(
                    f"tensor {name!r} becomes NaN or infinite on calibration image {len(hashes) + 1}: "
                    "no scale fits that, so mend the model or leave the image out"
                ) from None
        hashes.append(hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest())
        if progress is not None:
            progress(len(hashes))
    if not hashes:
        raise CalibrationError("calibration needs images, but got none")
    return Observations(histograms, tuple(hashes))


def _check_image(image: npt.NDArray[np.float32], shape: Sequence[int | str | None]) -> None:
    wanted = (1, *shape[1:])
    if image.dtype != np.float32 or image.shape != wanted:
        raise CalibrationError(
            f"a calibration image must be {wanted} float32, as preprocess gives it, but got {image.shape} {image.dtype}"
        )
