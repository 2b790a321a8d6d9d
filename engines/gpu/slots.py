"""What one frame under way holds on the GPU: a stream, buffers at fixed addresses, an execution, captured graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from ssd_edge.decode import to_pixels
from ssd_edge.detections import Detections
from ssd_edge.detector import Image, RawHeads, Result, StageTimes
from ssd_edge.engines.cuda.device import Argument, CudaError, Device, Module, Stream
from ssd_edge.engines.gpu.exchange import Copied, Exchange, exchange
from ssd_edge.engines.gpu.network import DeviceNetwork, is_half
from ssd_edge.engines.kernels.launch import Buffer, Launch, between_buffers, preprocess_launch, result_buffers
from ssd_edge.errors import BackendError

_ALIGNMENT = 256  # of each result in their common buffer, as of memory that the driver gives


@dataclass(frozen=True)
class Pipeline:
    """What all slots of an engine share.

    Attributes:
        device: all is on it.
        module: the kernels.
        network: gives each slot an execution of its own.
        launches: what makes results of what the network leaves.
        defaults: address of the default boxes, where a launch reads them.
    """

    device: Device
    module: Module
    network: DeviceNetwork
    launches: tuple[Launch, ...]
    defaults: int


class FrameSlot:
    """From a frame to detections; released with ``stack``."""

    def __init__(self, stack: ExitStack, pipeline: Pipeline) -> None:
        self._pipeline, device = pipeline, pipeline.device
        network, results = pipeline.network, result_buffers(pipeline.network.spec, 1)
        # Results lie in one buffer, so that one copy brings them all.
        offsets, size = _packed(results)
        self._results: Exchange = stack.enter_context(exchange(device, (size,), np.uint8))
        self._views = {
            name: self._results.array[offsets[name] :][: buffer.nbytes].view(buffer.dtype).reshape(buffer.shape)
            for name, buffer in results.items()
        }
        needed = {name for launch in pipeline.launches for name in (*launch.inputs, *launch.outputs)}
        between = {name: one for name, one in between_buffers(network.spec, 1).items() if name in needed}
        own = {name: buffer for name, buffer in {**network.bound, **between}.items() if name not in results}
        self._addresses = {
            **{name: stack.enter_context(device.buffer(buffer.nbytes)).address for name, buffer in own.items()},
            **{name: self._results.address + offset for name, offset in offsets.items()},
            "defaults": pipeline.defaults,
        }
        self._half = is_half(network.bound["image"])
        self._frame: Exchange | None = None
        self._of_frame = stack.enter_context(ExitStack())
        context = network.context()
        stack.callback(context.close)
        context.bind(self._addresses)
        self._stream = _stream(stack, device)
        self._began, self._prepared, self._inferred, self._decoded = (
            stack.enter_context(device.event()) for _ in range(4)
        )
        self._infer = as_graph(stack, self._stream, lambda: context.enqueue(self._stream.handle))
        self._finish = as_graph(stack, self._stream, self._decode)
        stack.callback(self._views.clear)

    def submit(self, frame: Image) -> Callable[[], Result]:
        """Start on a frame."""
        size = frame.shape[0], frame.shape[1]
        arrived = perf_counter()
        memory = self._frame_memory(frame)
        np.copyto(memory.array, frame)
        copied = perf_counter() - arrived
        stream = self._stream
        stream.record(self._began)
        memory.to_device(stream)
        self._launch(preprocess_launch(self._pipeline.network.spec, size, self._half))
        stream.record(self._prepared)
        self._infer()
        stream.record(self._inferred)
        self._finish()
        stream.record(self._decoded)

        def result() -> Result:
            if not self._views:
                raise BackendError("the detector was closed before its result was asked for")
            self._pipeline.device.activate()
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

    def _detections(self, frame_size: tuple[int, int]) -> Detections:
        views = self._views
        number = int(views["num_detections"][0])
        return Detections(
            to_pixels(views["boxes"][0, :number], frame_size),
            views["scores"][0, :number].copy(),
            views["classes"][0, :number].astype(np.int64),
            int(views["num_cut"][0]),
        )

    def _frame_memory(self, frame: Image) -> Exchange:
        """For a frame of this size; made anew where the last one had another."""
        if self._frame is None or self._frame.array.shape != frame.shape:
            self._of_frame.close()
            self._frame = None
            self._frame = self._of_frame.enter_context(exchange(self._pipeline.device, frame.shape, np.uint8))
            self._addresses["frame"] = self._frame.address
        return self._frame

    def _decode(self) -> None:
        for launch in self._pipeline.launches:
            self._launch(launch)
        self._results.to_host(self._stream)

    def _launch(self, launch: Launch) -> None:
        arguments: list[Argument] = [
            np.uint64(self._addresses[value]) if isinstance(value, str) else np.int32(value)
            for value in launch.arguments
        ]
        self._stream.launch(self._pipeline.module.function(launch.kernel), launch.grid, launch.block, arguments)


class HeadsSlot:
    """From an image to what the network says of it; released with ``stack``."""

    def __init__(self, stack: ExitStack, pipeline: Pipeline) -> None:
        network, self._device = pipeline.network, pipeline.device
        self._memory = {
            name: stack.enter_context(Copied(self._device, buffer.shape, buffer.dtype))
            for name, buffer in network.bound.items()
        }
        context = network.context()
        stack.callback(context.close)
        context.bind({name: memory.address for name, memory in self._memory.items()})
        self._stream = _stream(stack, self._device)
        self._inferred = stack.enter_context(self._device.event())
        self._infer = as_graph(stack, self._stream, lambda: context.enqueue(self._stream.handle))

    def submit(self, image: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        """Start on what preprocess gives."""
        np.copyto(self._memory["image"].array, image, casting="same_kind")
        self._memory["image"].to_device(self._stream)
        self._infer()
        heads = [self._memory[name] for name in RawHeads._fields]
        for memory in heads:
            memory.to_host(self._stream)
        self._stream.record(self._inferred)

        def result() -> RawHeads:
            self._device.activate()
            self._inferred.synchronize()
            return RawHeads(*(memory.array.astype(np.float32, copy=False) for memory in heads))

        return result


def as_graph(stack: ExitStack, stream: Stream, work: Callable[[], None]) -> Callable[[], None]:
    """The same work as a CUDA graph: one launch instead of many; as it is, where it cannot be captured.

    Raises:
        BackendError: it cannot be done at all.
    """
    work()  # what libraries set up on a first run must not fall into a capture
    stream.synchronize()
    try:
        graph = stream.capture(work)
    except CudaError as error:
        if not error.name.startswith("CUDA_ERROR_STREAM_CAPTURE_"):
            raise
        return work
    except BackendError:  # of a library that has done it a moment ago
        return work
    if graph is None:
        return work
    stack.enter_context(graph)
    return lambda: graph.launch(stream)


def _stream(stack: ExitStack, device: Device) -> Stream:
    """A stream whose work is waited for before it is released, and before what lies deeper in the stack is."""
    stream = stack.enter_context(device.stream())

    def wait(kind: object, error: BaseException | None, trace: object) -> None:
        with suppress(CudaError) if error is not None else nullcontext():  # what went wrong first is what is told
            stream.synchronize()

    stack.push(wait)
    return stream


def _packed(buffers: Mapping[str, Buffer]) -> tuple[dict[str, int], int]:
    """Where each lies in one buffer, and that buffer's size in bytes."""
    offsets, end = {}, 0
    for name, buffer in buffers.items():
        offsets[name] = end
        end += -(-buffer.nbytes // _ALIGNMENT) * _ALIGNMENT
    return offsets, end
