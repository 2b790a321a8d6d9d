"""The work of a slot: a stream that is waited for, and the pieces of work on it that are captured as graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext, suppress

from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.cuda.driver import CudaError
from ssd_edge.engines.gpu.graph import Captured, as_graph
from ssd_edge.engines.gpu.network import DeviceNetwork


class Work:
    """A stream, and the executions of the network on it, one for each number of images.

    TensorRT's graphs hold only as long as their execution keeps its shapes and addresses, so each number of images has
    an execution of its own. They never run at the same time, and so they share their working memory.

    Args:
        stack: releases everything; what was entered before is released after the stream's work is done.
        device: the GPU.
        network: the network.

    Attributes:
        stream: the stream.
        captures: the pieces of work so far.
    """

    def __init__(self, stack: ExitStack, device: Device, network: DeviceNetwork) -> None:
        self._network = network
        self._memory = stack.enter_context(device.buffer(network.memory)).address if network.memory else 0
        self.stream = stream = stack.enter_context(device.stream())
        self.captures: list[Captured] = []
        self._resources = stack.enter_context(ExitStack())

        def wait(kind: object, error: BaseException | None, trace: object) -> None:
            with suppress(CudaError) if error is not None else nullcontext():  # the first error is the one to report
                stream.synchronize()

        stack.push(wait)

    def inference(self, batch: int, addresses: Mapping[str, int]) -> Captured:
        """Prepare runs of the network with so many images, on tensors at these addresses.

        No work may be under way, since the network runs once.

        Raises:
            BackendError: the GPU lacks memory, or the library failed.
        """
        context = self._network.context(batch, self._memory)
        self._resources.callback(context.close)
        context.bind(addresses)
        return self.captured(lambda: context.enqueue(self.stream.handle), context.why_no_graph)

    def captured(
        self, work: Callable[[], None], why_not: Callable[[int], str | None] = lambda stream: None
    ) -> Captured:
        """Run work once, then capture it; see ``as_graph``."""
        self.captures.append(as_graph(self._resources, self.stream, work, why_not))
        return self.captures[-1]
