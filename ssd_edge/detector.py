"""Detect objects in frames: preprocess, heads, decode, with the work on one frame overlapping the next one's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from time import perf_counter
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ssd_edge.decode import Decoder, for_reader
from ssd_edge.detections import Detections
from ssd_edge.pixels import Pixels, size_of, to_bgr
from ssd_edge.preprocess import preprocess
from ssd_edge.spec import ModelSpec

_Self = TypeVar("_Self", bound="Detector")
_Engine = TypeVar("_Engine", bound="Engine")


class RawHeads(NamedTuple):
    """A network's outputs for a batch: loc (B, A, 4) and logits (B, A, C), float32."""

    loc: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]


class Heads(Protocol):
    """Anything that runs a model's heads: an engine, ONNX, a PyTorch network."""

    spec: ModelSpec
    depth: int
    """How many inferences may run at once: 1 if ``submit`` waits for its result, otherwise 2 or more."""
    max_batch: int
    """How many images one inference takes where that is faster than one by one; otherwise 1."""

    def submit(self, images: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        """Start inference on (B, 3, H, W) float32; the returned function waits for the result.

        The arrays of a result stay valid until ``depth`` further submissions.

        Raises:
            NoHeadsError: the engine decodes by itself and has no heads to give; use ``detector``.
        """

    def detector(self, min_score: float = 0.0) -> Detector:
        """Make the fastest detector for these heads: ``HostDetector`` if they run on a CPU.

        Args:
            min_score: lowest score that the caller reads. If it is above the spec's threshold, detections below it are
                not decoded, see ``decode.for_reader``.
        """


class Engine(ABC):
    """``Heads`` that hold native resources; a context manager, closed at the end of its ``with``.

    Attributes:
        backend: name of what runs the heads.
        precision: precision of most of the arithmetic, such as ``FP32`` or ``INT8``.
    """

    spec: ModelSpec
    depth: int
    backend: str
    precision: str
    max_batch: int = 1

    @property
    def graph(self) -> str | None:
        """Whether work on a GPU is launched as CUDA graphs: ``yes``, or ``no, …`` and why; None without a GPU."""
        return None

    @abstractmethod
    def submit(self, images: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        """See ``Heads``."""

    def detector(self, min_score: float = 0.0) -> Detector:
        """See ``Heads``."""
        return HostDetector(self, min_score)

    @abstractmethod
    def close(self) -> None:
        """Release the engine's resources; do not submit afterwards."""

    def __enter__(self: _Engine) -> _Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StageTimes(NamedTuple):
    """Seconds that a frame spent in each stage; ``inference`` lasts from submission to result."""

    preprocess: float
    inference: float
    decode: float


class Result(NamedTuple):
    """Detections of a frame and the time that each stage took."""

    detections: Detections
    times: StageTimes


class Reader:
    """Who reads a source's frames; this one takes BGR from ordinary memory.

    Attributes:
        reads: the pixel formats that it takes as they are, see ``pixels.FORMATS``.
    """

    reads: Collection[str] = ("BGR",)

    def memory(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Give memory for one frame, (nbytes,) uint8, to be written once, where it needs no further copy.

        It is used again once the array and its views are gone. Any thread may call this.
        """
        return np.empty(nbytes, np.uint8)


class Detector(Reader, ABC):
    """A model that takes frames and gives detections."""

    spec: ModelSpec
    depth: int
    """How many submissions may be made before the first one's result is fetched."""
    max_batch: int = 1
    """How many frames one submission takes where that is faster than one by one; otherwise 1."""

    @abstractmethod
    def submit(self, frame: Pixels) -> Callable[[], Result]:
        """Start on a frame of any size; the returned function waits for the result.

        Fetch results in the order of their frames, each before ``depth`` further submissions.

        Raises:
            ValueError: the frame is an array that is not (height, width, 3) uint8.
        """

    def submit_batch(self, frames: Sequence[Pixels]) -> Callable[[], list[Result]]:
        """Start on 1 … ``max_batch`` frames of any sizes at once; the returned function waits for their results.

        Raises:
            ValueError: the number of frames does not fit, or one is an array that is not (height, width, 3) uint8.
        """
        check_batch(frames, self.max_batch)
        finish = self.submit(frames[0])
        return lambda: [finish()]

    def __call__(self, frame: Pixels) -> Detections:
        """Detect objects in one frame, and wait for the result."""
        return self.submit(frame)().detections

    def close(self) -> None:
        """Release the detector's own resources; its engine is closed separately. Do not submit afterwards."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class HostDetector(Detector):
    """A detector that preprocesses and decodes on the CPU; its heads may run anywhere.

    Args:
        heads: runs the network; its spec gives all other settings.
        min_score: as in ``Heads.detector``.
    """

    def __init__(self, heads: Heads, min_score: float = 0.0) -> None:
        self.heads = heads
        self.spec = heads.spec
        self.depth = heads.depth
        self._decode = Decoder(for_reader(heads.spec, min_score))

    @property
    def max_batch(self) -> int:  # type: ignore[override]
        """See ``Detector``."""
        return self.heads.max_batch

    def submit(self, frame: Pixels) -> Callable[[], Result]:
        """See ``Detector``."""
        finish = self._start([frame])
        return lambda: finish()[0]

    def submit_batch(self, frames: Sequence[Pixels]) -> Callable[[], list[Result]]:
        """See ``Detector``."""
        check_batch(frames, self.max_batch)
        return self._start(frames)

    def _start(self, frames: Sequence[Pixels]) -> Callable[[], list[Result]]:
        images, prepared = [], []
        for frame in frames:
            began = perf_counter()
            images.append(preprocess(to_bgr(frame), self.spec))
            prepared.append(perf_counter() - began)
        started = perf_counter()
        finish = self.heads.submit(images[0] if len(images) == 1 else np.concatenate(images))
        sizes = [size_of(frame) for frame in frames]

        def results() -> list[Result]:
            heads = finish()
            inference = perf_counter() - started
            done = []
            for loc, logits, size, seconds in zip(heads[0], heads[1], sizes, prepared, strict=True):
                began = perf_counter()
                detections = self._decode(loc, logits, size)
                done.append(Result(detections, StageTimes(seconds, inference, perf_counter() - began)))
            return done

        return results


def check_batch(frames: Sequence[object], most: int) -> None:
    """Raise ValueError unless there are 1 … ``most`` frames."""
    if not 1 <= len(frames) <= most:
        raise ValueError(f"a batch must have 1 to {most} frames, but got {len(frames)}")
