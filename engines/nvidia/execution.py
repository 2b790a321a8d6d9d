"""Execution of a network by TensorRT or TensorRT-RTX, and a log that keeps the reason of a failed call."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ssd_edge.engines.nvidia.messages import plain
from ssd_edge.errors import BackendError


class Execution:
    """An execution for one run at a time, see ``ssd_edge.engines.gpu.network.DeviceContext``.

    Args:
        native: the library's execution context.
        names: names of the network's tensors.
        errors: the log from ``error_log``.
        library: the library's name for people.
    """

    def __init__(self, native: Any, names: Collection[str], errors: Any, library: str) -> None:
        self._native, self._names, self._errors, self._library = native, tuple(names), errors, library

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Set the device addresses of the network's tensors, by name; other names are ignored.

        Raises:
            BackendError: the library refused an address.
        """
        for name in self._names:
            if not self._native.set_tensor_address(name, addresses[name]):
                raise BackendError(f"{self._library} refused the address of {name}: {self._errors.last()}")

    def enqueue(self, stream: int) -> None:
        """Start a run on a stream, given by its handle; it may be captured into a CUDA graph.

        Raises:
            BackendError: the library failed.
        """
        if self._native is None:
            raise BackendError("these heads are closed")
        if not self._native.execute_async_v3(stream):
            raise BackendError(f"{self._library} failed: {self._errors.last()}")

    def why_no_graph(self, stream: int) -> str | None:
        """See ``DeviceContext``: only the capture itself can tell."""
        return None

    def close(self) -> None:
        """Release the library's execution context."""
        self._native = None


def error_log(trt: Any) -> Any:
    """Make an ``ILogger`` that keeps the last error, since calls only return that they failed.

    ``trt`` supplies the base class.
    """

    class ErrorLog(trt.ILogger):  # type: ignore[misc]
        """Keeps the last error."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._last = ""

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self._last = plain(msg)

        def last(self) -> str:
            return self._last or "it gave no reason"

    return ErrorLog()
