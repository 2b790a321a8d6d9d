"""The outputs of ``ssd-edge run`` by name: what a user chooses, and the sink behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from ssd_edge.choices import Choice

if TYPE_CHECKING:
    from ssd_edge.outputs.sink import Sink

SINKS: dict[str, Choice] = {
    "video": Choice("Record an annotated video: .mp4, .mkv or .avi.", "ssd_edge.outputs.video:Video"),
    "images": Choice("Write annotated frames into this folder.", "ssd_edge.outputs.images:Images"),
    "json": Choice(
        "Write the detections, one JSON object per frame; '-' for stdout.", "ssd_edge.outputs.json_lines:JsonLines"
    ),
    "window": Choice("Show the annotated frames in a window.", "ssd_edge.outputs.window:Window"),
}
"""The sinks; each class has ``opened(target, labels, fps)``."""


def open_sink(name: str, target: str, labels: Sequence[str], fps: float | None) -> Sink:
    """Open a sink.

    Args:
        name: a key of ``SINKS``.
        target: the file or folder that it writes; empty for the window.
        labels: class names, as in the model's spec.
        fps: frame rate of the source; None if it is not known.

    Raises:
        SinkError: the sink cannot be written.
    """
    return cast("Sink", SINKS[name].load().opened(target, labels, fps))
