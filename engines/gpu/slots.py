"""The slot of a detector: the GPU resources of the frames under way together (stream, buffers at fixed addresses)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssd_edge.decode import to_pixels
from ssd_edge.detections import Detections
from ssd_edge.detector import Result, StageTimes
from ssd_edge.engines.gpu.exchange import Exchange, exchange
from ssd_edge.engines.gpu.frames import DeviceFrame, Held
from ssd_edge.engines.gpu.graph import Captured
from ssd_edge.engines.gpu.network import of_batch
from ssd_edge.engines.gpu.pipeline import Pipeline, Preprocess, prepared
from ssd_edge.engines.gpu.work import Work
from ssd_edge.engines.kernels.launch import Buffer, between_buffers, result_buffers
from ssd_edge.errors import BackendError
from ssd_edge.pixels import Pixels

_ALIGNMENT = 256  # bytes, of each result in their common buffer; memory from the driver is aligned like this


class _Run(NamedTuple):
    """What is prepared for one number of frames.

    Attributes:
        infer: runs the network.
        finish: decodes, and copies the results.
        views: the host's views of the results by name, see ``result_buffers``.
    """

    infer: Captured
    finish: Captured
    views: Mapping[str, npt.NDArray[Any]]


class FrameSlot:
    """Slot that turns 1 … ``max_batch`` frames into detections, with one run of the network; released with ``stack``.

    Its buffers have room for the largest batch. Executions and graphs are made for each number of frames when it first
    comes: for one frame at once, so at most ``max_batch`` of them.
    """

    def __init__(self, stack: ExitStack, pipeline: Pipeline) -> None:
        self._pipeline, device, network = pipeline, pipeline.device, pipeline.network
        most = network.max_batch
        results = result_buffers(network.spec, most)
        self._results: Exchange = stack.enter_context(exchange(device, (_packed(results)[1],), np.uint8))
        needed = {name for launch in pipeline.launches(1) for name in (*launch.inputs, *launch.outputs)}
        between = {name: buffer for name, buffer in between_buffers(network.spec, most).items() if name in needed}
        own = {**of_batch(network.bound, most), **between}
        self._addresses = {
            **{
                name: stack.enter_context(device.buffer(buffer.nbytes)).address
                for name, buffer in own.items()
                if name not in results
            },
            "defaults": pipeline.defaults,
        }
        self._preprocess = stack.enter_context(Preprocess(pipeline, self._addresses["image"]))
        self._held: Sequence[Held] = ()  # the frames that the GPU reads
        self._runs: dict[int, _Run] = {}
        self._work = Work(stack, device, network)
        self.captures = self._work.captures
        self._began, self._inferred, self._decoded = (stack.enter_context(device.event()) for _ in range(3))
        self._prepared = [stack.enter_context(device.event()) for _ in range(most)]
        self._run(1)
        stack.callback(self._runs.clear)
        stack.callback(self._let_go)

    def submit(self, frames: Sequence[Pixels | DeviceFrame]) -> Callable[[], list[Result]]:
        """Start work on frames, and return a function that waits for their results.

        The network's time, and that of decode on the GPU, are those of all frames together.
        """
        if self._held:  # nobody fetched the last results, so the GPU may still read their frames
            self._decoded.synchronize()
        run = self._run(len(frames))
        held, launches, copied = [], [], []
        for frame in frames:
            arrived = perf_counter()
            held.append(self._pipeline.frames.hold(frame))
            launches.append(self._preprocess.prepared(held[-1]))
            copied.append(perf_counter() - arrived)
        self._held = held
        sizes = [one.layout.size for one in held]
        stream = self._work.stream
        stream.record(self._began)
        for place, (launch, one) in enumerate(zip(launches, held, strict=True)):
            self._preprocess.start(launch, one, place, stream)
            stream.record(self._prepared[place])
        run.infer.start()
        stream.record(self._inferred)
        run.finish.start()
        stream.record(self._decoded)

        def results() -> list[Result]:
            if not self._runs:
                raise BackendError("the detector was closed before its result was asked for")
            self._pipeline.device.activate()
            self._decoded.synchronize()
            self._let_go()
            inference = self._inferred.milliseconds_since(self._prepared[len(sizes) - 1]) / 1000
            decode = self._decoded.milliseconds_since(self._inferred) / 1000
            done, earlier = [], self._began
            for place, (size, seconds) in enumerate(zip(sizes, copied, strict=True)):
                began = perf_counter()
                detections = _detections(run.views, place, size)
                ready = self._prepared[place]
                seconds += ready.milliseconds_since(earlier) / 1000
                done.append(Result(detections, StageTimes(seconds, inference, decode + perf_counter() - began)))
                earlier = ready
            return done

        return results

    def _run(self, batch: int) -> _Run:
        """Look up or prepare the work for a number of frames. The slot must have no work under way."""
        if batch not in self._runs:
            self._runs[batch] = self._new_run(batch)
        return self._runs[batch]

    def _new_run(self, batch: int) -> _Run:
        pipeline, results = self._pipeline, result_buffers(self._pipeline.network.spec, batch)
        # The results of a batch lie one behind the other, so that one copy fetches them and nothing else.
        offsets, size = _packed(results)
        views = {
            name: self._results.array[offsets[name] :][: buffer.nbytes].view(buffer.dtype).reshape(buffer.shape)
            for name, buffer in results.items()
        }
        addresses = {**self._addresses, **{name: self._results.address + offset for name, offset in offsets.items()}}
        infer = self._work.inference(batch, addresses)
        launches = [prepared(pipeline, launch, addresses) for launch in pipeline.launches(batch)]

        def decode() -> None:
            for launch in launches:
                launch.launch(self._work.stream.handle)
            self._results.to_host(self._work.stream, size)

        # Without a launch there is at most a copy to start, for which a graph is no gain.
        return _Run(infer, self._work.captured(decode) if launches else Captured(decode), views)

    def _let_go(self) -> None:
        self._held = ()


def _detections(views: Mapping[str, npt.NDArray[Any]], place: int, frame_size: tuple[int, int]) -> Detections:
    """Copy the detections of one frame of a batch out of the results."""
    number = int(views["num_detections"][place])
    return Detections(
        to_pixels(views["boxes"][place, :number], frame_size),
        views["scores"][place, :number].copy(),
        views["classes"][place, :number].astype(np.int64),
        int(views["num_cut"][place]),
    )


def _packed(buffers: Mapping[str, Buffer]) -> tuple[dict[str, int], int]:
    """Place several buffers in one: the offset of each, and the size of the whole in bytes."""
    offsets, end = {}, 0
    for name, buffer in buffers.items():
        offsets[name] = end
        end += -(-buffer.nbytes // _ALIGNMENT) * _ALIGNMENT
    return offsets, end
