"""Streams of work on the device, with their events and captured graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy.typing as npt

from ssd_edge.engines.cuda.driver import Argument, CudaError, Driver
from ssd_edge.engines.cuda.memory import DeviceBuffer
from ssd_edge.engines.cuda.resource import Resource


class Event(Resource):
    """A point in a stream's work."""

    def __init__(self, driver: Driver) -> None:
        self._driver, self.handle = driver, driver.create_event()
        super().__init__(lambda: driver.destroy_event(self.handle))

    def synchronize(self) -> None:
        """Wait until the event has happened."""
        self._driver.synchronize_event(self.handle)

    def milliseconds_since(self, earlier: Event) -> float:
        """Return the time since another event; both must have happened."""
        return self._driver.milliseconds(earlier.handle, self.handle)


class Graph(Resource):
    """Captured work that one call starts."""

    def __init__(self, driver: Driver, handle: int) -> None:
        self._driver, self.handle = driver, handle
        super().__init__(lambda: driver.destroy_graph(handle))

    def launch(self, stream: Stream) -> None:
        """Start the work after everything that is on the stream."""
        self._driver.launch_graph(self.handle, stream.handle)


class Stream(Resource):
    """A queue of work that runs in order, in parallel to the program and to other streams.

    Attributes:
        handle: the driver's CUstream, as TensorRT and other libraries take it.
    """

    def __init__(self, driver: Driver, adopted: object | None = None) -> None:
        self._driver = driver
        if adopted is None:
            self.handle = driver.create_stream()
            super().__init__(lambda: driver.destroy_stream(self.handle))
        else:
            self.handle = driver.adopt_stream(adopted)
            super().__init__(lambda: driver.disown_stream(self.handle))

    def upload(self, buffer: DeviceBuffer, array: npt.NDArray[Any]) -> None:
        """Copy a contiguous array to the device; do not change a pinned array until the copy is done."""
        _check_copy(buffer, array)
        self._driver.upload(buffer.address, array, self.handle)

    def download(self, array: npt.NDArray[Any], buffer: DeviceBuffer) -> None:
        """Copy from the device into a contiguous array, which is filled once the stream reaches this point."""
        _check_copy(buffer, array)
        self._driver.download(array, buffer.address, self.handle)

    def launch(
        self,
        function: int,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[Argument],
    ) -> None:
        """Start a kernel."""
        self._driver.prepare(function, grid, block, arguments).launch(self.handle)

    def record(self, event: Event) -> None:
        """Record an event after all work that is on the stream now."""
        self._driver.record_event(event.handle, self.handle)

    def wait(self, event: Event) -> None:
        """Make later work wait for an event of another stream."""
        self._driver.wait_event(self.handle, event.handle)

    def synchronize(self) -> None:
        """Wait until all work is done.

        Raises:
            CudaError: some of the work failed.
        """
        self._driver.synchronize_stream(self.handle)

    def capture(self, work: Callable[[], None]) -> Graph | None:
        """Capture the work that ``work`` starts on this stream as a graph.

        Returns None, and does not call ``work``, if the library has no graphs.

        Args:
            work: starts work on this stream, and waits for nothing.
        """
        if not self._driver.can_capture:
            return None
        self._driver.begin_capture(self.handle)
        try:
            work()
            handle = self._driver.end_capture(self.handle)
        except BaseException:
            _discard_capture(self._driver, self.handle)
            raise
        return Graph(self._driver, handle)


def _discard_capture(driver: Driver, stream: int) -> None:
    with suppress(CudaError):  # the capture may be over already, and its error is about to be raised
        driver.destroy_graph(driver.end_capture(stream))


def _check_copy(buffer: DeviceBuffer, array: npt.NDArray[Any]) -> None:
    if not array.flags.c_contiguous or array.nbytes > buffer.nbytes:
        raise ValueError(
            f"cannot copy an array of {array.nbytes} bytes (contiguous: {array.flags.c_contiguous}) and a buffer of "
            f"{buffer.nbytes}: the array must be contiguous and no larger than the buffer"
        )
