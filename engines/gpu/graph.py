"""Capture a slot's work into a CUDA graph, one launch instead of many."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from ssd_edge.engines.cuda.driver import CudaError
from ssd_edge.engines.cuda.stream import Stream
from ssd_edge.errors import BackendError


def as_graph(stack: ExitStack, stream: Stream, work: Callable[[], None]) -> Callable[[], None]:
    """Capture work into a CUDA graph, one launch instead of many; return the work itself if it cannot be captured.

    Raises:
        BackendError: the work fails even without a capture.
    """
    work()  # libraries do their setup on the first run, and must not do it during a capture
    stream.synchronize()
    try:
        graph = stream.capture(work)
    except CudaError as error:
        if not error.name.startswith("CUDA_ERROR_STREAM_CAPTURE_"):
            raise
        return work
    except BackendError:  # the library did the same work a moment ago, so only the capture makes it fail
        return work
    if graph is None:
        return work
    stack.enter_context(graph)
    return lambda: graph.launch(stream)
