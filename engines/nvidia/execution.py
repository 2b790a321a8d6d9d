"""An execution of a network by TensorRT or TensorRT-RTX, and the log that says why a call failed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ssd_edge.engines.nvidia.messages import plain
from ssd_edge.errors import BackendError


class Execution:
    """One execution at a time, see ``ssd_edge.engines.gpu.network.DeviceContext``.

    Args:
        native: the library's execution context.
        names: of the network's tensors.
        errors: an ``error_log``.
        library: its name for people.
    """

    def __init__(self, native: Any, names: Collection[str], errors: Any, library: str) -> None:
        self._native, self._names, self._errors, self._library = native, tuple(names), errors, library

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Set the device addresses of the network's tensors, by name; there may be further names.

        Raises:
            BackendError: the library refused one.
        """
        for name in self._names:
            if not self._native.set_tensor_address(name, addresses[name]):
                raise BackendError(f"{self._library} refused the address of {name}: {self._errors.last()}")

    def enqueue(self, stream: int) -> None:
        """Start on a stream, given as its handle; may be captured into a CUDA graph.

        Raises:
            BackendError: the library failed.
        """
        if self._native is None:
            raise BackendError("these heads are closed")
        if not self._native.execute_async_v3(stream):
            raise BackendError(f"{self._library} failed: {self._errors.last()}")

    def close(self) -> None:
        """Give the library's part back."""
        self._native = None


def error_log(trt: Any) -> Any:
    """A logger of this module's kind that keeps the last error: functions say only that they failed."""

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
