"""The process of a candidate: opens it, proves it, and detects in the frames that it is sent, until its input ends.

Started as ``python -m ssd_edge.swap.child REQUEST``, with the request in JSON: ``model``, ``min_score``, and
``beside``, the engine that works now, whose time for a frame is measured in turns with the candidate's; or null.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import IO, Any

from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, Engine
from ssd_edge.engines.opening import open_model, proof_for
from ssd_edge.engines.proof.prove import prove
from ssd_edge.errors import SsdEdgeError
from ssd_edge.pixels import Image
from ssd_edge.swap.wire import detections_message, image_of, receive, send


def opened(path: Path) -> Engine:
    """Open a model and prove it.

    Raises:
        SsdEdgeError: it cannot run here, or has not the detections of its proof.
    """
    engine = open_model(path)
    try:
        prove(engine, proof_for(path, engine))
    except BaseException:
        engine.close()
        raise
    return engine


def serve(open_candidate: Callable[[Path], Engine] = opened) -> None:
    """Do the work of the request in ``sys.argv[-1]``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    frames, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints goes to stderr, apart from the answers
    request = json.loads(sys.argv[-1])
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(open_candidate(Path(request["model"])))
            detector = stack.enter_context(engine.detector(request["min_score"]))
            beside = _beside(stack, request)
        except (SsdEdgeError, OSError, MemoryError) as error:
            send(answers, {"error": " ".join(str(error).split()) or type(error).__name__})
            return
        about = {"backend": engine.backend, "precision": engine.precision, "labels": list(engine.spec.labels)}
        send(answers, {"ready": True, **about})
        _work(frames, answers, detector, beside)


def _beside(stack: ExitStack, request: dict[str, Any]) -> Detector | None:
    if request["beside"] is None:
        return None
    engine = stack.enter_context(open_model(Path(request["beside"])))
    return stack.enter_context(engine.detector(request["min_score"]))


def _work(frames: IO[bytes], answers: IO[bytes], detector: Detector, beside: Detector | None) -> None:
    turn = 0
    while True:
        header, content = receive(frames)
        if not header:
            return
        image = image_of(header, content)
        try:
            # In turns, the one and the other comes first: the second finds the frame in the caches.
            turn += 1
            measured = beside if header["pair"] else None
            other = _timed(measured, image)[1] if measured and turn % 2 else None
            detections, seconds = _timed(detector, image)
            other = _timed(measured, image)[1] if measured and not turn % 2 else other
        except SsdEdgeError as error:
            send(answers, {"error": " ".join(str(error).split())})
            continue
        about, arrays = detections_message(detections)
        send(answers, {**about, "seconds": seconds, "other": other, "resident": resident()}, arrays)


def _timed(detector: Detector, image: Image) -> tuple[Detections, float]:
    began = perf_counter()
    return detector(image), perf_counter() - began


def resident() -> int:
    """Return this process's bytes in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


if __name__ == "__main__":
    serve()
