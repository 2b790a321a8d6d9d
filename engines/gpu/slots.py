"""Slots: the GPU resources of one frame under way (stream, buffers at fixed addresses, execution, captured graphs)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext, suppress
from time import perf_counter

import numpy as np
import numpy.typing as npt

from ssd_edge.decode import to_pixels
from ssd_edge.detections import Detections
from ssd_edge.detector import RawHeads, Result, StageTimes
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.cuda.driver import CudaError
from ssd_edge.engines.cuda.stream import Stream
from ssd_edge.engines.gpu.exchange import Copied, Exchange, exchange
from ssd_edge.engines.gpu.frames import DeviceFrame, Held
from ssd_edge.engines.gpu.graph import Captured, as_graph
from ssd_edge.engines.gpu.pipeline import Pipeline, Preprocess, prepared
from ssd_edge.engines.kernels.launch import Buffer, between_buffers, result_buffers
from ssd_edge.errors import BackendError
from ssd_edge.pixels import Pixels

_ALIGNMENT = 256  # bytes, of each result in their common buffer; memory from the driver is aligned like this


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
        self._preprocess = stack.enter_context(Preprocess(pipeline, self._addresses["image"]))
        self._held: Held | None = None  # the frame that the GPU reads
        context = network.context()
        stack.callback(context.close)
        context.bind(self._addresses)
        self._stream = _stream(stack, device)
        self._began, self._prepared, self._inferred, self._decoded = (
            stack.enter_context(device.event()) for _ in range(4)
        )
        self._infer = as_graph(stack, self._stream, lambda: context.enqueue(self._stream.handle), context.why_no_graph)
        self._decoding = [prepared(pipeline, launch, self._addresses) for launch in pipeline.launches]
        # Without a launch there is at most a copy to start, for which a graph is no gain.
        decodes = bool(self._decoding)
        self._finish = as_graph(stack, self._stream, self._decode) if decodes else Captured(self._decode)
        self.captures = (self._infer, self._finish) if decodes else (self._infer,)
        stack.callback(self._views.clear)
        stack.callback(self._let_go)

    def submit(self, frame: Pixels | DeviceFrame) -> Callable[[], Result]:
        """Start work on a frame, and return a function that waits for its result."""
        if self._held is not None:  # nobody fetched the last result, so the GPU may still read its frame
            self._decoded.synchronize()
        arrived = perf_counter()
        self._held = held = self._pipeline.frames.hold(frame)
        size = held.layout.size
        launch = self._preprocess.prepared(held.layout)
        copied = perf_counter() - arrived
        stream = self._stream
        stream.record(self._began)
        self._preprocess.start(launch, held, stream)
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
            self._let_go()
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

    def _let_go(self) -> None:
        self._held = None

    def _decode(self) -> None:
        for launch in self._decoding:
            launch.launch(self._stream.handle)
        self._results.to_host(self._stream)


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
