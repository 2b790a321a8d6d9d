"""The camera loop: it takes frames from a source through a detector to a window, a video or JSON.

with open_source("0") as camera:
    report = run_loop(detector, camera, [Window(labels), JsonLines("out.jsonl", labels)])
"""

from ssd_edge.stream.capture import Capture
from ssd_edge.stream.draw import annotate
from ssd_edge.stream.frames import Frame, Source
from ssd_edge.stream.loop import detect, run_loop
from ssd_edge.stream.sinks import Background, Images, JsonLines, Sink, StopLoop, Window
from ssd_edge.stream.sources import open_source
from ssd_edge.stream.stats import LoopReport, Percentiles
from ssd_edge.stream.video import Video

__all__ = [
    "Background",
    "Capture",
    "Frame",
    "Images",
    "JsonLines",
    "LoopReport",
    "Percentiles",
    "Sink",
    "Source",
    "StopLoop",
    "Video",
    "Window",
    "annotate",
    "detect",
    "open_source",
    "run_loop",
]
