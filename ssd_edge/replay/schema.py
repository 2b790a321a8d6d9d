"""What a recording holds: one ``Head`` at the beginning of each section, then one ``Shot`` for each frame."""

from __future__ import annotations

from typing import Any

import msgspec

VERSION = 1
"""Version of the recordings that are written, and of those that are read."""


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which engine ran.

    Attributes:
        model: the file's or folder's name, without its path.
        backend: a key of ``BACKENDS``, or what else ran it.
        precision: ``FP32``, ``FP16`` or ``INT8``.
        version: version of the runtime; empty if unknown.
        sha256: SHA-256 of each file of the model, by name.
        ssd_edge: version of ssd-edge.
        machine: kind of processor.
        spec: the model's spec, as ``ModelSpec.to_json`` writes it.
    """

    model: str
    backend: str
    precision: str
    version: str
    sha256: dict[str, str]
    ssd_edge: str
    machine: str
    spec: dict[str, Any]


class Head(msgspec.Struct, frozen=True, tag="head", forbid_unknown_fields=True):
    """How a section was recorded. Each section has its own, so that it can be read alone.

    Attributes:
        version: see ``VERSION``.
        run: identifies the run; the same in all sections of one.
        part: place of the section in its run: 0, 1, 2, …
        camera: the camera's name.
        source: name of the source, without passwords.
        fps: frame rate of the source; None if unknown.
        began: when the run began, ISO 8601 in UTC.
        engine: what detected.
        labels: class names.
        thresholds: score from which on each class is shown.
        lowest_score: lowest score that the detector was asked for.
        watch: what was watched, the content of a watch file; None for nothing.
    """

    version: int
    run: str
    part: int
    camera: str
    source: str
    fps: float | None
    began: str
    engine: Identity
    labels: list[str]
    thresholds: list[float]
    lowest_score: float
    watch: dict[str, Any] | None


class Picture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frame's picture, as it arrived or without loss.

    Attributes:
        form: a key of ``pictures.FORMS``.
        data: the compressed picture as it arrived, or a PNG for each plane.
        size: (height, width) in pixels.
        pixel_format: a key of ``pixels.FORMATS``.
        matrix, full_range: see ``pixels.Colour``.
    """

    form: str
    data: list[bytes]
    size: tuple[int, int]
    pixel_format: str = "BGR"
    matrix: str = "bt601"
    full_range: bool = False


class Found(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Detections, to the last bit, in little-endian order.

    Attributes:
        boxes: (N, 4) float32.
        scores: (N,) float32.
        labels: (N,) int64.
        num_cut: see ``Detections``.
    """

    boxes: bytes
    scores: bytes
    labels: bytes
    num_cut: int


class Shot(msgspec.Struct, frozen=True, tag="frame", forbid_unknown_fields=True):
    """A frame.

    Attributes:
        number: 0, 1, 2, … of the run's results; a gap means frames that are missing from the recording.
        index: see ``Frame``.
        captured: see ``Frame``; seconds of a clock that began at any time.
        position: see ``Frame``.
        file: see ``Frame``.
        picture: its picture.
        found: all its detections with a score of at least ``Head.lowest_score``.
        ids: ids of the objects that are followed, (M,) int64; None if nothing is watched.
        digests: digest of the result of each stage that could be seen, by a name in ``stages.STAGES``.
    """

    number: int
    index: int
    captured: float
    position: float | None
    file: str | None
    picture: Picture
    found: Found
    ids: bytes | None
    digests: dict[str, bytes]
