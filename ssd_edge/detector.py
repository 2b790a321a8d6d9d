"""Frame → Detections: preprocess, heads, decode, with one frame's work overlapping the next one's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ssd_edge.decode import Decoder, for_reader
from ssd_edge.detections import Detections
from ssd_edge.preprocess import preprocess
from ssd_edge.spec import ModelSpec

_Self = TypeVar("_Self", bound="Detector")

Image = npt.NDArray[np.uint8]
"""(height, width, 3) uint8 BGR."""


class RawHeads(NamedTuple):
    """What a network gives for a batch: loc (B, A, 4) and logits (B, A, C), float32."""

    loc: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]


class Heads(Protocol):
    """Anything that runs a model's heads: an engine, ONNX, a PyTorch network."""

    spec: ModelSpec
    depth: int
    """How many inferences may be under way at once: 1 where ``submit`` waits, 2 or more where it does not."""

    def submit(self, images: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        """Start on (B, 3, H, W) float32; the returned call waits for the result.

        The arrays of a result stay valid until ``depth`` further submissions.

        Raises:
            NoHeadsError: it decodes by itself, so that its detector is all there is.
        """

    def detector(self, min_score: float = 0.0) -> Detector:
        """The best way from a frame to detections with these heads: ``HostDetector`` where they run on a CPU.

        Args:
            min_score: of the detections that the caller reads, where that is above the spec's threshold: what is below
                is not decoded, see ``decode.for_reader``.
        """


class StageTimes(NamedTuple):
    """Seconds that a frame spent in each stage; ``inference`` is from submission to result."""

    preprocess: float
    inference: float
    decode: float


class Result(NamedTuple):
    """Detections of a frame and what they cost."""

    detections: Detections
    times: StageTimes


class Detector(ABC):
    """A model that takes frames."""

    spec: ModelSpec
    depth: int
    """How many frames may be under way at once."""

    @abstractmethod
    def submit(self, frame: Image) -> Callable[[], Result]:
        """Start on a frame of any size; the returned call waits for the result.

        Results are asked for in the order of their frames, each before ``depth`` further submissions.

        Raises:
            ValueError: the frame is not (height, width, 3) uint8.
        """

    def __call__(self, frame: Image) -> Detections:
        """Detections of one frame, waited for."""
        return self.submit(frame)().detections

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Release what this detector holds beside its engine, which is closed by itself; nothing is submitted then."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class HostDetector(Detector):
    """Preprocess and decode on the CPU, around heads that run anywhere.

    Args:
        heads: runs the network; its spec says the rest.
        min_score: as in ``Heads.detector``.
    """

    def __init__(self, heads: Heads, min_score: float = 0.0) -> None:
        self.heads = heads
        self.spec = heads.spec
        self.depth = heads.depth
        self._decode = Decoder(for_reader(heads.spec, min_score))

    def submit(self, frame: Image) -> Callable[[], Result]:
        """See ``Detector``."""
        began = perf_counter()
        images = preprocess(frame, self.spec)
        started = perf_counter()
        finish = self.heads.submit(images)
        size = frame.shape[0], frame.shape[1]

        def result() -> Result:
            loc, logits = finish()
            inferred = perf_counter()
            found = self._decode(loc[0], logits[0], size)
            return Result(found, StageTimes(started - began, inferred - started, perf_counter() - inferred))

        return result
