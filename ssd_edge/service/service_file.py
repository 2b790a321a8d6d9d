"""The form of a service's file: which settings it may have, and of which types; see docs/service.md."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from ssd_edge.service.output_forms import OutputsForm
from ssd_edge.stream.ways import DEFAULT_WAY
from ssd_edge.tracking.watch_file import WatchFile
from ssd_edge.web.address import DEFAULT_ADDRESS


class CameraForm(msgspec.Struct, forbid_unknown_fields=True):
    """One camera.

    Attributes:
        source: what ``run --camera`` takes.
        size, fps, format: what is asked of the camera.
        capture: what reads it.
        max_age: the oldest frame that is processed, such as ``100ms``.
        buffer: which frames wait: ``newest``, ``drop-oldest:8`` or ``every``.
        watch: zones and lines: a file, or its content.
        min_score: score threshold for all classes.
        outputs: outputs of this camera, beside those of all.
    """

    source: str | int
    size: str | None = None
    fps: float | None = None
    format: str | None = None
    capture: str = DEFAULT_WAY
    max_age: str | None = None
    buffer: str = "newest"
    watch: str | WatchFile | None = None
    min_score: float | None = None
    outputs: OutputsForm = msgspec.field(default_factory=OutputsForm)


class DiskForm(msgspec.Struct, forbid_unknown_fields=True):
    """Room for recordings.

    Attributes:
        quota: most that all recordings may take, such as ``20GB``.
        free: what stays free on their disk, such as ``2GB``.
    """

    quota: str | None = None
    free: str | None = None


class PageForm(msgspec.Struct, forbid_unknown_fields=True):
    """The live page.

    Attributes:
        address: port, or address and port; a port alone is for this machine only.
        token: what visitors have to know: ``${NAME}``, a variable of the environment.
        token_file: the file that holds it, in the place of ``token``.
    """

    address: str | int = DEFAULT_ADDRESS
    token: str | None = None
    token_file: str | None = None


class SwapForm(msgspec.Struct, forbid_unknown_fields=True):
    """What an engine must keep to that is to take over; see ``swap.contract.Contract``.

    Attributes:
        share: most of the time that comparing may take, above 0 and up to 1.
        frames, seconds, detections: how much is compared at least.
        disagreement: largest share of detections that only one of the two engines has.
        slower: most times the old engine's time for a frame.
        late: how much larger the share of frames may become that are left out for their age.
        growth: how much the candidate's memory may grow, such as ``64MB``.
        probation_frames, probation_seconds: how long the old engine waits beside it.
        patience: how long a candidate is compared at most.
    """

    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    frames: Annotated[int, msgspec.Meta(ge=1)] = 200
    seconds: str = "20s"
    detections: Annotated[int, msgspec.Meta(ge=0)] = 20
    disagreement: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
    slower: Annotated[float, msgspec.Meta(gt=0)] = 1.5
    late: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.02
    growth: str = "64MB"
    probation_frames: Annotated[int, msgspec.Meta(ge=1)] = 1000
    probation_seconds: str = "60s"
    patience: str = "30m"


class ServiceForm(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file.

    Attributes:
        model: the engine, or a folder of engines by version, of which the newest is taken.
        cameras: the cameras by name.
        outputs: outputs that each camera has.
        metrics: port, or address and port, of ``/metrics`` and ``/healthz``.
        page: the live page: its port, or address and port, or these with a token.
        log: form of the lines on stderr.
        unhealthy_after: how long a camera may give no results before ``/healthz`` turns red.
        disk: room for recordings.
        degrade: what live cameras may lose while the machine is slowed down or frames are too old: nothing, frames, or
            frames and then accuracy.
        fallback: the smaller engine of ``degrade: engine``; by default a plan in fewer bits of the model's bundle.
        swap: what an engine must keep to that is to take over while the service runs.
        watch_models: whether a newer engine in the folder ``model`` is tried by itself.
    """

    model: str
    cameras: dict[str, CameraForm]
    outputs: OutputsForm = msgspec.field(default_factory=OutputsForm)
    metrics: str | int | None = None
    page: str | int | PageForm | None = None
    log: Literal["text", "json"] = "text"
    unhealthy_after: str = "10s"
    disk: DiskForm = msgspec.field(default_factory=DiskForm)
    degrade: Literal["off", "skip", "engine"] = "skip"
    fallback: str | None = None
    swap: SwapForm = msgspec.field(default_factory=SwapForm)
    watch_models: bool = False


def json_schema() -> dict[str, Any]:
    """Return the form as a JSON schema, with which editors complete and check the file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(ServiceForm)}


EXAMPLE = """\
# A service of ssd-edge: ssd-edge run --config FILE --check-config checks it, docs/service.md explains it.
# Paths are relative to this file. ${NAME} is a variable of the environment: keep passwords there.
model: parts.engine
log: text                       # json: one JSON object a line
metrics: 127.0.0.1:9090         # /metrics and /healthz
# page: 127.0.0.1:8080          # pictures, numbers and zones in a browser: docs/page.md
unhealthy_after: 10s            # without results, /healthz turns red
degrade: skip                   # while heat slows the machine down: off, skip frames, or engine, a smaller one at last
disk:
  quota: 20GB                   # of all recordings; the oldest are removed
  free: 2GB                     # stays free on the disk; below it, recording stops, but not detecting

outputs:                        # of each camera; {camera} stands for its name
  json: "{camera}.jsonl"

cameras:
  line3:
    source: rtsp://viewer:${LINE3_PASSWORD}@camera3/stream
    max_age: 500ms              # older frames are dropped and counted
    watch:                      # zones and lines, as in docs/tracking.md; or the name of such a file
      zones:
        - name: press
          points: [[0.4, 0.1], [0.7, 0.1], [0.7, 0.9], [0.4, 0.9]]
          min_time: 1.5
  belt:
    source: /dev/video0
    size: 1280x720
    fps: 30
    format: mjpg
    min_score: 0.6
    buffer: newest              # or drop-oldest:8, or every
    outputs:
      video:
        to: belt.mp4            # belt-00000001-TIME.mp4, ...
        rotate_every: 10m
      collect:
        to: hard-{camera}       # frames to label and train on: docs/collect.md
        frames: 500
  trial:
    source: synthetic           # a rendered scene, to try things out
    outputs:
      json:                     # this camera has none
"""
"""A file with comments, for ``run --example-config``."""
