"""The slot of the network alone: images in, raw heads out, with copies from and to the host."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from ssd_edge.detector import RawHeads
from ssd_edge.engines.gpu.exchange import Copied
from ssd_edge.engines.gpu.graph import Captured
from ssd_edge.engines.gpu.network import of_batch
from ssd_edge.engines.gpu.pipeline import Pipeline
from ssd_edge.engines.gpu.work import Work
from ssd_edge.errors import BackendError


class HeadsSlot:
    """Slot that turns 1 … ``max_batch`` images into the network's raw heads; released with ``stack``.

    Like ``FrameSlot``, it has buffers for the largest batch, and a graph for each number of images that came.
    """

    def __init__(self, stack: ExitStack, pipeline: Pipeline) -> None:
        network, self._device = pipeline.network, pipeline.device
        self._memory = {
            name: stack.enter_context(Copied(self._device, buffer.shape, buffer.dtype))
            for name, buffer in of_batch(network.bound, network.max_batch).items()
        }
        self._work = Work(stack, self._device, network)
        self.captures = self._work.captures
        self._inferred = stack.enter_context(self._device.event())
        self._runs: dict[int, Captured] = {}
        self._run(1)

    def submit(self, images: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        """Start work on (B, 3, H, W) preprocessed images, and return a function that waits for their heads.

        Raises:
            BackendError: the shape is another one, or the GPU lacks memory.
        """
        image = self._memory["image"]
        most, batch = len(image.array), len(images)
        if not 1 <= batch <= most or images.shape[1:] != image.array.shape[1:]:
            raise BackendError(
                f"the network takes 1 to {most} images of {image.array.shape[1:]}, but got an array of {images.shape}: "
                "give it the output of preprocess"
            )
        run, stream = self._run(batch), self._work.stream
        np.copyto(image.array[:batch], images, casting="same_kind")
        image.to_device(stream, batch)
        run.start()
        heads = [self._memory[name] for name in RawHeads._fields]
        for memory in heads:
            memory.to_host(stream, batch)
        stream.record(self._inferred)

        def result() -> RawHeads:
            self._device.activate()
            self._inferred.synchronize()
            return RawHeads(*(memory.array[:batch].astype(np.float32, copy=False) for memory in heads))

        return result

    def _run(self, batch: int) -> Captured:
        if batch not in self._runs:
            addresses = {name: memory.address for name, memory in self._memory.items()}
            self._runs[batch] = self._work.inference(batch, addresses)
        return self._runs[batch]
