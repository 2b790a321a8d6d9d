"""Run a fake TensorRT's networks on the emulated GPU: in the order of its streams, with tensors in its memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ssd_edge.engines.cuda.device import Device
from tests.cuda.host_heads import HostContext


class OnTheStream:
    """Runs the work of a fake library on the emulated GPU's streams.

    Args:
        library: makes the fake library from ``run(context, stream)`` and ``released(context)``.

    Attributes:
        library: the fake library.
    """

    def __init__(self, library: Callable[..., Any]) -> None:
        self._working: dict[int, tuple[Device, HostContext]] = {}
        self.library = library(self._run, self._released)

    def _run(self, context: Any, stream: int) -> None:
        if id(context) not in self._working:
            device = Device()
            self._working[id(context)] = device, HostContext(context.buffers(), context.engine.outputs, device)
        _, host = self._working[id(context)]
        host.bind(context.addresses)
        host.enqueue(stream)

    def _released(self, context: Any) -> None:
        if id(context) in self._working:
            device, host = self._working.pop(id(context))
            host.close()
            device.close()
