"""The outputs of ``ssd-edge run`` by name: what a user chooses, and the sink behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from ssd_edge.choices import Choice

if TYPE_CHECKING:
    from ssd_edge.outputs.sink import Sink

SINKS: dict[str, Choice] = {
    "video": Choice("Record an annotated video: .mp4, .mkv or .avi.", "ssd_edge.outputs.video:Video"),
    "images": Choice("Write annotated frames into this folder.", "ssd_edge.outputs.images:Images"),
    "clips": Choice(
        "Record an annotated clip of each event, and a JSON file of what happened, into this folder.",
        "ssd_edge.outputs.clips:Clips",
    ),
    "collect": Choice(
        "Collect hard frames into this folder as a data set, with the model's boxes as suggestions: docs/collect.md.",
        "ssd_edge.outputs.collect.collector:Collect",
    ),
    "json": Choice(
        "Write the detections, one JSON object per frame; '-' for stdout.", "ssd_edge.outputs.json_lines:JsonLines"
    ),
    "window": Choice("Show the annotated frames in a window.", "ssd_edge.outputs.window:Window"),
    "mqtt": Choice(
        "Tell an MQTT broker, and Home Assistant: mqtt://USER:PASSWORD@HOST:1883/PREFIX.", "ssd_edge.outputs.mqtt:Mqtt"
    ),
    "webhook": Choice("Post events to a web server as JSON: https://HOST/PATH.", "ssd_edge.outputs.webhook:Webhook"),
    "rtsp": Choice(
        "Serve the annotated picture by RTSP: a port of this machine, or rtsp://USER:PASSWORD@HOST:8554/PATH.",
        "ssd_edge.outputs.rtsp_out:RtspOut",
    ),
}
"""The sinks; each class has ``opened(target, labels, fps)``, and may have settings of its own as keywords."""


def check_target(name: str, target: str) -> None:
    """Refuse a target of the wrong form; nothing is opened.

    Args:
        name: a key of ``SINKS``.
        target: see ``open_sink``.

    Raises:
        SinkError: it has the wrong form.
    """
    cast("type[Sink]", SINKS[name].load()).check(target)


def open_sink(name: str, target: str, labels: Sequence[str], fps: float | None, **settings: Any) -> Sink:
    """Open a sink.

    Args:
        name: a key of ``SINKS``.
        target: the file, folder or address that it writes; empty for the window.
        labels: class names, as in the model's spec.
        fps: frame rate of the source; None if it is not known.
        settings: keyword arguments of the sink's ``opened``.

    Raises:
        SinkError: the sink cannot be written.
    """
    sink = cast("Sink", SINKS[name].load().opened(target, labels, fps, **settings))
    sink.name = name
    return sink
