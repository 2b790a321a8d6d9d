"""Frame → detections on a GPU: upload, preprocess, heads, decode, download, one after the other on a stream.

Two slots take turns. Each has a stream, buffers and an execution context of its own, so that one frame is copied or
decoded while the network works on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext, suppress
from time import perf_counter
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ssd_edge.boxes import default_boxes
from ssd_edge.decode import to_pixels
from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, Image, RawHeads, Result, StageTimes
from ssd_edge.engines.cuda import Argument, CudaError, Device, DeviceBuffer, Module, PinnedArray
from ssd_edge.engines.plugins.launch import (
    Buffer,
    Launch,
    between_buffers,
    check_limits,
    decode_launches,
    heads_buffers,
    preprocess_launch,
    result_buffers,
)
from ssd_edge.preprocess import check_frame
from ssd_edge.spec import ModelSpec

_ALIGNMENT = 256  # of each result in their common buffer, as of memory that the driver gives


class DeviceContext(Protocol):
    """One execution of a network at a time, on addresses that stay the same."""

    def bind(self, image: int, loc: int, logits: int) -> None:
        """Set the device addresses of ``image`` (1, 3, H, W), ``loc`` (1, A, 4) and ``logits`` (1, A, C)."""

    def enqueue(self, stream: int) -> None:
        """Start on a stream, given by its handle; after the first time, also while a graph is captured."""


class DeviceHeads(Protocol):
    """A network whose inputs and outputs are on the device."""

    spec: ModelSpec
    precision: str
    half: bool
    """Whether image, loc and logits are FP16, else FP32."""

    def context(self) -> DeviceContext:
        """A further execution, independent of the others."""

    def close(self) -> None:
        """Release the network and its contexts."""


class GpuEngine:
    """Heads on a GPU, with preprocess and decode beside them. See ``ssd_edge.engines.base.Engine``.

    Args:
        backend: by which the heads run.
        heads: closed with the engine.
        device: closed with the engine.
        kernels: a cubin or PTX of kernels.cu that suits the device.

    Raises:
        BackendError: the device refuses something, or has not enough memory; all is closed then.
    """

    depth = 2

    def __init__(self, backend: str, heads: DeviceHeads, device: Device, kernels: bytes) -> None:
        self.backend, self.spec, self.precision = backend, heads.spec, heads.precision
        with ExitStack() as stack:
            stack.enter_context(device)
            stack.callback(heads.close)
            check_limits(self.spec)
            module = stack.enter_context(device.module(kernels))
            defaults = default_boxes(self.spec)
            on_device = stack.enter_context(device.buffer(defaults.nbytes))
            with device.stream() as stream:
                stream.upload(on_device, defaults)
                stream.synchronize()
            self._slots = [_Slot(stack, device, module, heads, on_device.address) for _ in range(self.depth)]
            self._next = 0
            self._device = device
            self._resources = stack.pop_all()

    def submit(self, images: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        """See ``Heads``: the network alone, with copies to and from the host."""
        return self.next_slot().submit_image(images)

    def detector(self) -> Detector:
        """See ``Heads``: preprocess and decode on the GPU."""
        return GpuDetector(self)

    def next_slot(self) -> _Slot:
        """The one whose turn it is; its last result has been asked for."""
        self._device.activate()
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        return slot

    def close(self) -> None:
        """See ``Engine``."""
        self._resources.close()


class GpuDetector(Detector):
    """Frames in, detections out, all between on the GPU."""

    def __init__(self, engine: GpuEngine) -> None:
        self.spec, self.depth = engine.spec, engine.depth
        self._engine = engine

    def submit(self, frame: Image) -> Callable[[], Result]:
        """See ``Detector``."""
        check_frame(frame)
        return self._engine.next_slot().submit_frame(frame)


class _Slot:
    """What a frame under way holds, from its upload to its result; released with ``stack``."""

    def __init__(self, stack: ExitStack, device: Device, module: Module, heads: DeviceHeads, defaults: int) -> None:
        spec = self._spec = heads.spec
        self._half, self._device, self._module = heads.half, device, module
        self._arrays = heads_buffers(spec, 1, heads.half)
        self._buffers = {
            name: stack.enter_context(device.buffer(buffer.nbytes))
            for name, buffer in {**self._arrays, **between_buffers(spec, 1)}.items()
        }
        # Results lie in one buffer, so that one copy brings them all.
        offsets, size = _packed(result_buffers(spec, 1))
        self._packed = stack.enter_context(device.buffer(size))
        self._results = stack.enter_context(device.pinned((size,), np.uint8))
        self._views = {
            name: self._results.array[offsets[name] :][: buffer.nbytes].view(buffer.dtype).reshape(buffer.shape)
            for name, buffer in result_buffers(spec, 1).items()
        }
        self._addresses = {
            **{name: buffer.address for name, buffer in self._buffers.items()},
            **{name: self._packed.address + offset for name, offset in offsets.items()},
            "defaults": defaults,
        }
        self._stream = stack.enter_context(device.stream())
        self._began, self._prepared, self._inferred, self._decoded = (
            stack.enter_context(device.event()) for _ in range(4)
        )
        self._frame: tuple[PinnedArray, DeviceBuffer] | None = None
        self._of_frame = stack.enter_context(ExitStack())
        self._host = {
            name: stack.enter_context(device.pinned(buffer.shape, buffer.dtype))
            for name, buffer in self._arrays.items()
        }
        context = heads.context()
        context.bind(self._addresses["image"], self._addresses["loc"], self._addresses["logits"])
        self._infer = self._as_graph(stack, lambda: context.enqueue(self._stream.handle))
        self._decode = self._as_graph(stack, self._launch_decode)
        stack.push(self._drain)

    def submit_frame(self, frame: Image) -> Callable[[], Result]:
        """Start on a frame."""
        size = frame.shape[0], frame.shape[1]
        arrived = perf_counter()
        pinned, buffer = self._frame_memory(frame)
        np.copyto(pinned.array, frame)
        copied = perf_counter() - arrived
        stream = self._stream
        stream.record(self._began)
        stream.upload(buffer, pinned.array)
        self._launch(preprocess_launch(self._spec, size, self._half))
        stream.record(self._prepared)
        self._infer()
        stream.record(self._inferred)
        self._decode()
        stream.record(self._decoded)

        def result() -> Result:
            self._device.activate()
            self._decoded.synchronize()
            finished = perf_counter()
            detections = self._detections(size)
            return Result(
                detections,
                StageTimes(
                    copied + self._prepared.milliseconds_since(self._began) / 1000,
                    self._inferred.milliseconds_since(self._prepared) / 1000,
                    self._decoded.milliseconds_since(self._inferred) / 1000 + perf_counter() - finished,
                ),
            )

        return result

    def submit_image(self, image: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        """Start on what preprocess gives."""
        np.copyto(self._host["image"].array, image, casting="same_kind")
        self._stream.upload(self._buffers["image"], self._host["image"].array)
        self._infer()
        for name in ("loc", "logits"):
            self._stream.download(self._host[name].array, self._buffers[name])
        self._stream.record(self._inferred)

        def result() -> RawHeads:
            self._device.activate()
            self._inferred.synchronize()
            return RawHeads(*(self._host[name].array.astype(np.float32, copy=False) for name in ("loc", "logits")))

        return result

    def _drain(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Wait for what is under way, before anything is released; what went wrong first is what is told."""
        with suppress(CudaError) if error is not None else nullcontext():
            self._device.activate()
            self._stream.synchronize()

    def _detections(self, frame_size: tuple[int, int]) -> Detections:
        views = self._views
        number = int(views["num_detections"][0])
        return Detections(
            to_pixels(views["boxes"][0, :number], frame_size),
            views["scores"][0, :number].copy(),
            views["classes"][0, :number].astype(np.int64),
            int(views["num_cut"][0]),
        )

    def _frame_memory(self, frame: Image) -> tuple[PinnedArray, DeviceBuffer]:
        """For a frame of this size; made anew where the last one had another."""
        if self._frame is None or self._frame[0].array.shape != frame.shape:
            self._of_frame.close()
            self._frame = None
            pinned = self._of_frame.enter_context(self._device.pinned(frame.shape, np.uint8))
            buffer = self._of_frame.enter_context(self._device.buffer(frame.nbytes))
            self._addresses["frame"] = buffer.address
            self._frame = pinned, buffer
        return self._frame

    def _launch_decode(self) -> None:
        for launch in decode_launches(self._spec, 1, self._half):
            self._launch(launch)
        self._stream.download(self._results.array, self._packed)

    def _launch(self, launch: Launch) -> None:
        arguments: list[Argument] = [
            np.uint64(self._addresses[value]) if isinstance(value, str) else np.int32(value)
            for value in launch.arguments
        ]
        self._stream.launch(self._module.function(launch.kernel), launch.grid, launch.block, arguments)

    def _as_graph(self, stack: ExitStack, work: Callable[[], None]) -> Callable[[], None]:
        """The same work as a CUDA graph: one launch instead of many; as it is, where the library has no graphs."""
        work()  # what libraries set up on a first run must not fall into a capture
        self._stream.synchronize()
        graph = self._stream.capture(work)
        if graph is None:
            return work
        stack.enter_context(graph)
        return lambda: graph.launch(self._stream)


def _packed(buffers: Mapping[str, Buffer]) -> tuple[dict[str, int], int]:
    """Where each lies in one buffer, and that buffer's size in bytes."""
    offsets, end = {}, 0
    for name, buffer in buffers.items():
        offsets[name] = end
        end += -(-buffer.nbytes // _ALIGNMENT) * _ALIGNMENT
    return offsets, end
