"""Slots: the GPU resources of one frame under way (stream, buffers at fixed addresses, execution, captured graphs)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from ssd_edge.decode import to_pixels
from ssd_edge.detections import Detections
from ssd_edge.detector import RawHeads, Result, StageTimes
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.cuda.driver import Argument, CudaError
from ssd_edge.engines.cuda.module import Module
from ssd_edge.engines.cuda.stream import Stream
from ssd_edge.engines.gpu.exchange import Copied, Exchange, exchange
from ssd_edge.engines.gpu.graph import Captured, as_graph
from ssd_edge.engines.gpu.network import DeviceNetwork, is_half
from ssd_edge.engines.kernels.launch import Buffer, Launch, between_buffers, preprocess_launch, result_buffers
from ssd_edge.errors import BackendError
from ssd_edge.pixels import Image

_ALIGNMENT = 256  # bytes, of each result in their common buffer; memory from the driver is aligned like this


@dataclass(frozen=True)
class Pipeline:
    """Resources that all slots of an engine share.

    Attributes:
        device: the GPU.
        module: the kernels.
        network: the network; each slot gets its own execution of it.
        launches: kernel launches that turn the network's outputs into results.
        defaults: address of the default boxes; 0 if no launch reads them.
    """

    device: Device
    module: Module
    network: DeviceNetwork
    launches: tuple[Launch, ...]
    defaults: int


class FrameSlot:
    """Slot that turns a frame into detections; released with ``stack``."""

    def __init__(self, stack: ExitStack, pipeline: Pipeline) -> None:
        self._pipeline, device = pipeline, pipeline.device
        network, results = pipeline.network, result_buffers(pipeline.network.spec, 1)
        # All results lie in one buffer, so that one copy fetches them.
        offsets, size = _packed(results)
        self._results: Exchange = stack.enter_context(exchange(device, (size,), np.uint8))
        self._views = {
            name: self._results.array[offsets[name] :][: buffer.nbytes].view(buffer.dtype).reshape(buffer.shape)
            for name, buffer in results.items()
        }
        needed = {name for launch in pipeline.launches for name in (*launch.inputs, *launch.outputs)}
        between = {name: buffer for name, buffer in between_buffers(network.spec, 1).items() if name in needed}
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
        self._infer = as_graph(stack, self._stream, lambda: context.enqueue(self._stream.handle), context.why_no_graph)
        # A plan that carries its decode leaves at most one copy, which is no work for a graph.
        decodes = bool(pipeline.launches)
        self._finish = as_graph(stack, self._stream, self._decode) if decodes else Captured(self._decode)
        self.captures = (self._infer, self._finish) if decodes else (self._infer,)
        stack.callback(self._views.clear)

    def submit(self, frame: Image) -> Callable[[], Result]:
        """Start work on a frame, and return a function that waits for its result."""
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
        self._infer.start()
        stream.record(self._inferred)
        self._finish.start()
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
        """Memory for a frame of this size; allocated again if the previous frame had another size."""
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
    """Slot that turns an image into the network's raw heads; released with ``stack``."""

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
        self._infer = as_graph(stack, self._stream, lambda: context.enqueue(self._stream.handle), context.why_no_graph)
        self.captures = (self._infer,)

    def submit(self, image: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        """Start work on a preprocessed image, and return a function that waits for its heads."""
        np.copyto(self._memory["image"].array, image, casting="same_kind")
        self._memory["image"].to_device(self._stream)
        self._infer.start()
        heads = [self._memory[name] for name in RawHeads._fields]
        for memory in heads:
            memory.to_host(self._stream)
        self._stream.record(self._inferred)

        def result() -> RawHeads:
            self._device.activate()
            self._inferred.synchronize()
            return RawHeads(*(memory.array.astype(np.float32, copy=False) for memory in heads))

        return result


def _stream(stack: ExitStack, device: Device) -> Stream:
    """Make a stream whose work is waited for before it, or anything entered earlier in the stack, is released."""
    stream = stack.enter_context(device.stream())

    def wait(kind: object, error: BaseException | None, trace: object) -> None:
        with suppress(CudaError) if error is not None else nullcontext():  # the first error is the one to report
            stream.synchronize()

    stack.push(wait)
    return stream


def _packed(buffers: Mapping[str, Buffer]) -> tuple[dict[str, int], int]:
    """Place several buffers in one: the offset of each, and the size of the whole in bytes."""
    offsets, end = {}, 0
    for name, buffer in buffers.items():
        offsets[name] = end
        end += -(-buffer.nbytes // _ALIGNMENT) * _ALIGNMENT
    return offsets, end
