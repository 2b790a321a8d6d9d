"""Open the outputs of one camera, each isolated from the loop or waited for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from ssd_edge.outputs.isolated import Isolated
from ssd_edge.outputs.sink import Sink
from ssd_edge.stream.frames import Source

Opener = Callable[[], Sink]
"""Opens an output, also a second time after an error, without overwriting what it wrote before."""


def waits_for_outputs(source: Source, every_frame: bool) -> bool:
    """Tell whether the loop waits for its outputs: whether every frame of a file or of pictures is to be in them.

    A camera does not wait, so there a slow output loses frames in any case; better in its own queue than for all.
    """
    return not source.live and (every_frame or source.fps is None)


def open_outputs(
    openers: Mapping[str, Opener], say: Callable[[str], None], wait: bool, patient: bool = False
) -> list[Sink]:
    """Open outputs; if one cannot be opened, those that were are closed.

    Args:
        openers: what opens them, by name; the window stays in the loop's thread, as toolkits need.
        say: takes one line for each change of an isolated output.
        wait: whether the loop waits for them, and an error ends it; otherwise each is ``Isolated``.
        patient: whether isolated outputs that cannot be opened yet are waited for.

    Raises:
        SinkError: one of them cannot be opened, and is not waited for.
    """
    with ExitStack() as stack:
        sinks = [
            stack.enter_context(opener() if wait or name == "window" else Isolated(opener, name, say, patient=patient))
            for name, opener in openers.items()
        ]
        stack.pop_all()
    return sinks
