"""Capture a slot's work into a CUDA graph, one launch instead of many, or say why it is launched piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from ssd_edge.engines.cuda.driver import CudaError
from ssd_edge.engines.cuda.stream import Stream
from ssd_edge.errors import BackendError


@dataclass(frozen=True)
class Captured:
    """Work on a stream, as a CUDA graph if it can be captured.

    Attributes:
        start: starts the work.
        why_not: why it is not a graph; None if it is one.
    """

    start: Callable[[], None]
    why_not: str | None = None


def as_graph(
    stack: ExitStack,
    stream: Stream,
    work: Callable[[], None],
    why_not: Callable[[int], str | None] = lambda stream: None,
) -> Captured:
    """Capture work into a CUDA graph; work that cannot be captured is started piece by piece.

    Args:
        stack: releases the graph.
        stream: the stream that the work is started on.
        work: starts the work.
        why_not: called with the stream's handle once the work has run; says why it cannot be captured, or None.

    Raises:
        BackendError: the work fails even without a capture.
    """
    work()  # libraries do their setup on the first run, and must not do it during a capture
    stream.synchronize()
    reason = why_not(stream.handle)
    if reason is not None:
        return Captured(work, reason)
    try:
        graph = stream.capture(work)
    except CudaError as error:
        if not error.name.startswith("CUDA_ERROR_STREAM_CAPTURE_"):
            raise
        return Captured(work, str(error))
    except BackendError as error:  # the library did the same work a moment ago, so only the capture makes it fail
        return Captured(work, str(error))
    if graph is None:
        return Captured(work, "pycuda has no graphs: pip install cuda-bindings")
    stack.enter_context(graph)
    return Captured(lambda: graph.launch(stream))


def in_words(pieces: Sequence[Captured]) -> str:
    """Describe pieces of work: ``yes`` if each is a CUDA graph, else how many are not, and why."""
    reasons = [piece.why_not for piece in pieces if piece.why_not is not None]
    if not reasons:
        return "yes"
    return f"no, for {len(reasons)} of {len(pieces)} pieces of work: {'; '.join(dict.fromkeys(reasons))}"
