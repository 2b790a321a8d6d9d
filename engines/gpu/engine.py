"""Frame → detections on a GPU; decode is either part of the network's plan or launched after it.

A detector has two slots that take turns. Each slot has its own stream, buffers and executions of the network, so that
one frame is copied or decoded while the network works on the other. If the network takes batches, a slot takes up to
``max_batch`` frames at once. Several detectors of an engine share only the
network's weights, so each can serve its own camera in its own thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from ssd_edge.boxes import default_boxes
from ssd_edge.detector import Detector, Engine, RawHeads, Result, check_batch
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.gpu.frames import DeviceFrame, FramePool
from ssd_edge.engines.gpu.graph import Captured, in_words
from ssd_edge.engines.gpu.heads_slot import HeadsSlot
from ssd_edge.engines.gpu.network import DeviceNetwork, gives_heads
from ssd_edge.engines.gpu.pipeline import Pipeline
from ssd_edge.engines.gpu.slots import FrameSlot
from ssd_edge.engines.kernels.launch import check_limits
from ssd_edge.errors import BackendError, NoHeadsError
from ssd_edge.pixels import FORMATS, Pixels, RawFrame
from ssd_edge.preprocess import check_frame

DEPTH = 2
"""Slots of a detector: frames are copied while the network works on others."""

_Slot = TypeVar("_Slot", bound=FrameSlot | HeadsSlot)


class GpuEngine(Engine):
    """A network on a GPU, with preprocess before it and decode after it. See ``ssd_edge.detector.Engine``.

    Args:
        backend: name of the backend that runs the network.
        network: the network; closed with the engine.
        device: its GPU; closed with the engine.
        kernels: a cubin or PTX of kernels.cu that suits the device.

    Raises:
        BackendError: the device refused a call, or lacks memory; network and device are closed then.
    """

    depth = DEPTH

    def __init__(self, backend: str, network: DeviceNetwork, device: Device, kernels: bytes) -> None:
        self.backend, self.spec, self.precision = backend, network.spec, network.precision
        self.max_batch = network.max_batch
        self._slots_lock = Lock()  # several threads may ask for slots at once
        self._heads: _Turns[HeadsSlot] | None = None
        self._captures: list[Sequence[Captured]] = []  # of each slot; they grow with each new size of batch
        with ExitStack() as stack:
            stack.enter_context(device)
            stack.callback(network.close)
            check_limits(self.spec, self.max_batch)
            module = stack.enter_context(device.module(kernels))
            defaults = _constant(stack, device, default_boxes(self.spec)) if gives_heads(network) else 0
            pool = FramePool(device)
            stack.callback(pool.close)
            self._pipeline = Pipeline(device, module, network, defaults, pool)
            self._open: set[_Turns[Any]] = set()
            stack.callback(self._close_slots)
            # Allocated now, so that a lack of memory is reported here and not at the first frame.
            self._first: _Turns[FrameSlot] | None = self._turns(FrameSlot)
            self._resources = stack.pop_all()

    @property
    def graph(self) -> str:
        """See ``Engine``."""
        return in_words([piece for pieces in self._captures for piece in pieces])

    def submit(self, images: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        """Run the network alone, with copies to and from the host; see ``Heads``. One thread at a time may call it.

        Raises:
            NoHeadsError: the plan carries its decode, so it has no heads to return.
            BackendError: the GPU lacks memory for this beside the detectors, or the images do not fit the network.
        """
        if not gives_heads(self._pipeline.network):
            raise NoHeadsError(
                f"this {self.backend} plan carries its decode, so it gives detections and no heads: "
                "build it with --decode host-launch to get heads"
            )
        if self._heads is None:
            self._heads = self._turns(HeadsSlot)
        return self._heads.next().submit(images)

    def detector(self, min_score: float = 0.0) -> GpuDetector:
        """Make a detector that runs entirely on the GPU; see ``Heads``.

        Detectors share only the weights, so each may have its own thread. A plan that carries its decode always
        decodes down to its spec's threshold, whatever ``min_score`` is.

        Raises:
            BackendError: the GPU lacks memory for another detector.
        """
        with self._slots_lock:
            first, self._first = self._first, None
        pipeline = replace(self._pipeline, min_score=min_score)
        if pipeline.launches(1) == self._pipeline.launches(1):
            return GpuDetector(self._pipeline, first or self._turns(FrameSlot), min_score)
        if first is not None:
            first.close()  # its captured graphs decode from another score on
        return GpuDetector(pipeline, self._turns(FrameSlot, pipeline), min_score)

    def close(self) -> None:
        """Close the engine and its detectors; see ``Engine``."""
        self._resources.close()

    def _turns(self, kind: Callable[[ExitStack, Pipeline], _Slot], pipeline: Pipeline | None = None) -> _Turns[_Slot]:
        with self._slots_lock:
            turns = _Turns(kind, pipeline or self._pipeline, self._open.discard)
            self._open.add(turns)
            self._captures += turns.captures()
        return turns

    def _close_slots(self) -> None:
        with ExitStack() as stack:
            for turns in self._open:
                stack.callback(turns.close)
            stack.callback(self._pipeline.device.activate)  # runs first: the calling thread may be another one


class GpuDetector(Detector):
    """Detector that runs from frame to detections on the GPU; used by one thread at a time."""

    depth = DEPTH
    reads = tuple(FORMATS)

    def __init__(self, pipeline: Pipeline, slots: _Turns[FrameSlot], min_score: float = 0.0) -> None:
        self.spec = pipeline.network.spec
        self.max_batch = pipeline.network.max_batch
        self._take = pipeline.frames.take
        self._slots, self._min_score = slots, min_score

    def memory(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """See ``Reader``: memory that the GPU reads without a copy by the host."""
        return self._take(nbytes)

    def submit(self, frame: Pixels | DeviceFrame) -> Callable[[], Result]:
        """See ``Detector``; a frame may also lie in memory of the GPU."""
        finish = self._start([frame])
        return lambda: finish()[0]

    def submit_batch(self, frames: Sequence[Pixels | DeviceFrame]) -> Callable[[], list[Result]]:
        """See ``Detector``; frames may also lie in memory of the GPU.

        The first batch of each size takes longer: the network runs once more, and its graph is captured.

        Raises:
            ValueError: see ``Detector``.
            BackendError: the GPU lacks memory for a size of batch that is new.
        """
        check_batch(frames, self.max_batch)
        return self._start(frames)

    def _start(self, frames: Sequence[Pixels | DeviceFrame]) -> Callable[[], list[Result]]:
        for frame in frames:
            if not isinstance(frame, (RawFrame, DeviceFrame)):
                check_frame(frame)
        finish = self._slots.next().submit(frames)

        def results() -> list[Result]:
            return [one._replace(detections=one.detections.above(self._min_score)) for one in finish()]

        return results

    def close(self) -> None:
        """Release the detector's memory on the GPU; see ``Detector``."""
        self._slots.close()


class _Turns(Generic[_Slot]):
    """Slots that take turns.

    Args:
        kind: makes one slot.
        pipeline: resources that the slots share.
        closed: called with this object when it is closed.
    """

    def __init__(
        self, kind: Callable[[ExitStack, Pipeline], _Slot], pipeline: Pipeline, closed: Callable[[_Turns[_Slot]], None]
    ) -> None:
        self._device, self._closed = pipeline.device, closed
        self._device.activate()
        with ExitStack() as stack:
            self._slots = [kind(stack, pipeline) for _ in range(DEPTH)]
            self._resources = stack.pop_all()

    def next(self) -> _Slot:
        """Return the slot whose turn it is; its previous result must have been fetched."""
        if not self._slots:
            raise BackendError("this detector is closed")
        self._device.activate()
        self._slots.append(self._slots.pop(0))
        return self._slots[-1]

    def captures(self) -> list[Sequence[Captured]]:
        """List each slot's pieces of work, to which a slot may add."""
        return [slot.captures for slot in self._slots]

    def close(self) -> None:
        """Wait for the work under way, then release the slots. Idempotent."""
        if self._slots:
            self._slots.clear()
            self._closed(self)
            with self._resources as resources:
                resources.callback(self._device.activate)  # runs first: the calling thread may be another one


def _constant(stack: ExitStack, device: Device, values: npt.NDArray[np.float32]) -> int:
    """Copy values to the GPU for the lifetime of ``stack``, and return their address."""
    buffer = stack.enter_context(device.buffer(values.nbytes))
    with device.stream() as stream:
        stream.upload(buffer, values)
        stream.synchronize()
    return buffer.address
