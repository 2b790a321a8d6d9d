"""What a running service counts, as metrics of Prometheus; docs/service.md lists them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from ssd_edge.loop.stats import LoopReport
from ssd_edge.machine.readings import Readings
from ssd_edge.outputs.sink import OutputReport
from ssd_edge.service.exposition import Family, Kind, Sample, histogram
from ssd_edge.service.health import state_of
from ssd_edge.stream.durations import Durations
from ssd_edge.stream.ledger import REASONS
from ssd_edge.stream.supervision import Health

_Told = TypeVar("_Told")

BOUNDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histograms' buckets, in seconds."""

STATES = ("connecting", "streaming", "stalled", "waiting", "ended")

_PER_CAMERA: tuple[tuple[str, Kind, str, Callable[[LoopReport], float]], ...] = (
    ("captured_frames_total", "counter", "Frames that the source gave.", lambda one: one.captured),
    ("processed_frames_total", "counter", "Frames with a result.", lambda one: one.processed),
    ("detections_total", "counter", "Detections that were shown.", lambda one: one.detections),
    ("cut_frames_total", "counter", "Frames in which top-k left out candidates.", lambda one: one.frames_cut),
    ("frozen_frames_total", "counter", "Frames while the camera counted as frozen.", lambda one: one.frozen),
    ("black_frames_total", "counter", "Frames while the camera counted as black.", lambda one: one.black),
    ("reconnects_total", "counter", "Times that a lost source came back.", lambda one: one.reconnects),
    ("fps", "gauge", "Results a second, over the last 60.", lambda one: one.fps_now),
)
_OF_HEALTH: tuple[tuple[str, str, Callable[[Health], float]], ...] = (
    ("outages_total", "Times without frames.", lambda health: health.outage_count),
    ("outage_seconds_total", "Their length together.", lambda health: health.outage_seconds),
    ("missed_frames_total", "About how many frames they cost.", lambda health: health.frames_missed),
)


def families(
    what_runs: Mapping[str, str],
    reports: Mapping[str, LoopReport],
    *,
    waiting: Collection[str],
    reloads: Mapping[str, int],
    healthy: bool,
    readings: Readings,
    one_in: int,
) -> Iterator[Family]:
    """Yield all that is told of a service; arguments as of the functions below."""
    yield info_family(**what_runs)
    for of_cameras in (camera_families, duration_families, output_families):
        yield from of_cameras(reports)
    yield from service_families(waiting, reloads, healthy)
    yield from heat_families(readings, one_in)
    yield from process_families()


def camera_families(reports: Mapping[str, LoopReport]) -> Iterator[Family]:
    """Yield what is counted for each camera."""
    for name, kind, about, value in _PER_CAMERA:
        yield _of_each(name, kind, about, reports, value)
    healths = {name: report.health for name, report in reports.items() if report.health}
    for name, about, count in _OF_HEALTH:
        yield _of_each(name, "counter", about, healths, count)
    yield Family(
        "ssd_edge_dropped_frames_total",
        "counter",
        "Frames of a camera that were not shown, by reason.",
        tuple(
            Sample(count, {"camera": name, "reason": reason})
            for name, report in reports.items()
            for reason, count in left_out(report).items()
        ),
    )
    yield Family(
        "ssd_edge_camera_state",
        "gauge",
        "1 for the state that the camera is in.",
        tuple(
            Sample(state == state_of(report), {"camera": name, "state": state})
            for name, report in reports.items()
            for state in STATES
        ),
    )


def duration_families(reports: Mapping[str, LoopReport]) -> Iterator[Family]:
    """Yield histograms of latency and age."""
    for which, about in (
        ("latency", "Time from a frame's capture to its detections."),
        ("age", "Time from a frame's capture until its outputs had it."),
    ):
        samples = tuple(
            sample
            for name, report in reports.items()
            if (counted := report.durations.get(which)) is not None
            for sample in _histogram(counted, name)
        )
        yield Family(f"ssd_edge_{which}_seconds", "histogram", about, samples)


def _histogram(counted: Durations, camera: str) -> Iterator[Sample]:
    counts, count = counted.at_most(BOUNDS), counted.count  # in this order: the count is never below the last bucket
    return histogram(zip(BOUNDS, counts, strict=True), counted.total, count, camera=camera)


_OF_OUTPUT: tuple[tuple[str, Kind, str, Callable[[OutputReport], float]], ...] = (
    ("output_written_frames_total", "counter", "Frames that an output wrote.", lambda one: one.written),
    ("output_reopened_total", "counter", "Times that an output was opened again.", lambda one: one.reopened),
    ("output_late_events_total", "counter", "Events told with a later frame.", lambda one: one.late_events),
    ("output_lost_events_total", "counter", "Events that an output never told.", lambda one: one.lost_events),
    ("output_queued_frames", "gauge", "Frames that wait for an output.", lambda one: one.queued),
    ("output_up", "gauge", "1 while an output can be written.", lambda one: one.state in ("writing", "slow")),
)


def output_families(reports: Mapping[str, LoopReport]) -> Iterator[Family]:
    """Yield what is counted for each output of each camera."""
    outputs = [(name, output) for name, report in reports.items() for output in report.outputs]
    for name, kind, about, value in _OF_OUTPUT:
        samples = tuple(Sample(value(one), {"camera": camera, "output": one.name}) for camera, one in outputs)
        yield Family(f"ssd_edge_{name}", kind, about, samples)
    yield Family(
        "ssd_edge_output_dropped_frames_total",
        "counter",
        "Frames that an output did not write, by reason.",
        tuple(
            Sample(count, {"camera": camera, "output": output.name, "reason": reason})
            for camera, output in outputs
            for reason, count in output.dropped.items()
        ),
    )


def service_families(waiting: Collection[str], reloads: Mapping[str, int], healthy: bool) -> Iterator[Family]:
    """Yield what is told of the service as a whole.

    Args:
        waiting: cameras that cannot be opened.
        reloads: how often the file was read again, by outcome.
        healthy: whether ``/healthz`` is green.
    """
    yield Family("ssd_edge_healthy", "gauge", "1 while /healthz is green.", (Sample(healthy, {}),))
    yield Family("ssd_edge_waiting_cameras", "gauge", "Cameras that cannot be opened.", (Sample(len(waiting), {}),))
    samples = tuple(Sample(count, {"outcome": outcome}) for outcome, count in reloads.items())
    yield Family("ssd_edge_reloads_total", "counter", "Times that the file was read again.", samples)


def heat_families(readings: Readings, one_in: int) -> Iterator[Family]:
    """Yield what the machine tells of its heat and power, and how far the loop does less for it."""
    for name, about, label, values in (
        ("celsius", "Temperature.", "sensor", readings.celsius),
        ("watts", "Power.", "rail", readings.rails),
        ("clock_hertz", "Clock.", "part", {part: 1e6 * clock.now for part, clock in readings.clocks.items()}),
        ("busy_ratio", "Share of time at work.", "part", readings.busy),
    ):
        samples = tuple(Sample(value, {label: of}) for of, value in values.items())
        yield Family(f"ssd_edge_machine_{name}", "gauge", about, samples)
    limits = tuple(Sample(1, {"part": limit.part, "reason": limit.reason}) for limit in readings.limits)
    yield Family("ssd_edge_machine_limited", "gauge", "1 for what slows the machine down now.", limits)
    yield Family("ssd_edge_one_frame_in", "gauge", "One frame of so many is processed.", (Sample(one_in, {}),))


def process_families(proc: Path = Path("/proc/self")) -> Iterator[Family]:
    """Yield memory, handles and threads of this process, by the names that Prometheus' own clients give them."""
    try:
        pages = int((proc / "statm").read_text().split()[1])
        handles = len(list((proc / "fd").iterdir()))
        threads = len(list((proc / "task").iterdir()))
    except (OSError, ValueError, IndexError):  # no Linux
        return
    size = os.sysconf("SC_PAGE_SIZE")
    yield Family("process_resident_memory_bytes", "gauge", "Resident memory.", (Sample(pages * size, {}),))
    yield Family("process_open_fds", "gauge", "Open file handles.", (Sample(handles, {}),))
    yield Family("process_threads", "gauge", "Threads.", (Sample(threads, {}),))


def info_family(**about: str) -> Family:
    """Return what runs, as labels of a value that is always 1."""
    return Family("ssd_edge_info", "gauge", "What runs: version, model, backend, precision.", (Sample(1, about),))


def left_out(report: LoopReport) -> dict[str, int]:
    """Return the number of frames that were not shown, by reason, also of reasons that never came."""
    return {reason: report.ledger.get(reason, 0) for reason in REASONS if reason != "waiting"}


def _of_each(
    name: str, kind: Kind, about: str, cameras: Mapping[str, _Told], value: Callable[[_Told], float]
) -> Family:
    samples = tuple(Sample(value(told), {"camera": camera}) for camera, told in cameras.items())
    return Family(f"ssd_edge_{name}", kind, about, samples)
