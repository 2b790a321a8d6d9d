"""The stages between a picture and its tracks, and a digest of each one's result, so that two runs can be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, Engine, Heads, HostDetector, RawHeads, Result
from ssd_edge.pixels import Pixels, RawFrame, size_of
from ssd_edge.tracking.watch import Watched

STAGES: Mapping[str, str] = {
    "picture": "decode of the picture",
    "preprocess": "preprocess",
    "network": "network",
    "decode": "decode of boxes",
    "tracking": "tracking",
}
"""The stages in their order, in words."""

_BYTES = 8


class Trace(NamedTuple):
    """What lies between a frame and its detections: the network's input (3, H, W), and both its outputs."""

    image: npt.NDArray[np.float32]
    loc: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Traced(Detections):
    """Detections with the trace of their frame."""

    trace: Trace | None = None


def traced(engine: Engine, min_score: float) -> Detector:
    """Make a detector whose detections have a trace, unless the engine prepares frames or decodes by itself.

    Args:
        engine: the model.
        min_score: as in ``Heads.detector``.
    """
    detector = engine.detector(min_score)
    return TracedDetector(detector.heads, min_score) if type(detector) is HostDetector else detector


class TracedDetector(HostDetector):
    """A ``HostDetector`` that gives ``Traced`` detections; it computes the same, and copies the network's outputs."""

    def __init__(self, heads: Heads, min_score: float) -> None:
        self._tracing = _TracingHeads(heads)
        super().__init__(self._tracing, min_score)

    def submit(self, frame: Pixels) -> Callable[[], Result]:
        """See ``Detector``."""
        finish = super().submit(frame)
        return lambda: self._with_traces([finish()])[0]

    def submit_batch(self, frames: Sequence[Pixels]) -> Callable[[], list[Result]]:
        """See ``Detector``."""
        finish = super().submit_batch(frames)
        return lambda: self._with_traces(finish())

    def _with_traces(self, results: Sequence[Result]) -> list[Result]:
        return [
            one._replace(detections=Traced(**vars(one.detections), trace=trace))
            for one, trace in zip(results, self._tracing.last, strict=True)
        ]


class _TracingHeads:
    """Heads that keep the traces of the result fetched last."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self.spec, self.depth, self.max_batch = heads.spec, heads.depth, heads.max_batch
        self.last: list[Trace] = []

    def submit(self, images: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        finish = self._heads.submit(images)

        def result() -> RawHeads:
            raw = finish()
            # Copied, since they are overwritten by later submissions; the input is new for each one.
            self.last = [Trace(*one) for one in zip(images, raw.loc.copy(), raw.logits.copy(), strict=True)]
            return raw

        return result

    def detector(self, min_score: float = 0.0) -> Detector:
        return self._heads.detector(min_score)


def digests(pixels: Pixels, every: Detections, shown: Detections) -> dict[str, bytes]:
    """Compute the digest of each stage's result, as far as it can be seen.

    Args:
        pixels: the frame.
        every: all its detections.
        shown: what was shown of them; its tracks are a stage if objects are followed.

    Returns:
        Eight bytes of SHA-256 by a key of ``STAGES``.
    """
    found = {"picture": of_pixels(pixels)}
    if isinstance(every, Traced) and every.trace is not None:
        found["preprocess"] = _of_arrays([every.trace.image])
        found["network"] = _of_arrays(every.trace[1:])
    found["decode"] = _of_arrays([every.boxes, every.scores, every.labels], str(every.num_cut))
    if isinstance(shown, Watched):
        text = json.dumps([[vars(event) for event in shown.events], shown.counts], sort_keys=True)
        found["tracking"] = _of_arrays([shown.boxes, shown.scores, shown.labels, shown.ids], text)
    return found


def of_pixels(pixels: Pixels) -> bytes:
    """Compute a frame's digest: of its format, size and pixels, wherever they lie in memory."""
    if not isinstance(pixels, RawFrame):
        return _of_arrays([pixels], f"BGR {size_of(pixels)}")
    layout = pixels.layout
    planes = [layout.of_plane(pixels.memory, place) for place in range(len(layout.offsets))]
    colour = "" if layout.pixel_format in {"BGR", "BGRx", "GRAY8"} else f" {layout.colour}"
    return _of_arrays(planes, f"{layout.pixel_format} {layout.size}{colour}")


def same_pixels(one: Pixels, other: Pixels) -> bool:
    """Tell whether two frames have the same format and pixels."""
    return of_pixels(one) == of_pixels(other)


def first_difference(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> str | None:
    """Name the first stage whose results differ, of those that both have; None if there is none."""
    both = [stage for stage in STAGES if stage in one and stage in other]
    return next((stage for stage in both if one[stage] != other[stage]), None)


def _of_arrays(arrays: Iterable[npt.NDArray[np.generic]], text: str = "") -> bytes:
    digest = hashlib.sha256(text.encode())
    for array in arrays:
        little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        digest.update(little.data)
    return digest.digest()[:_BYTES]
