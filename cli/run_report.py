"""What ``ssd-edge run`` tells of a run, while it lasts and at its end: tables, sentences and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssd_edge.cli.run_service import cameras_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from ssd_edge.cli.relieving import Watched
    from ssd_edge.loop.camera import Camera
    from ssd_edge.loop.stats import LoopReport, RunReport
    from ssd_edge.service.log import Log
    from ssd_edge.stream.durations import Percentiles
    from ssd_edge.tracking.watch import Watch


@dataclass(frozen=True)
class Ran:
    """A run that has ended.

    Attributes:
        report: its numbers.
        cameras: its cameras.
        watches: what watched them, by name; None where nothing did.
        machine: what the machine told, and what was done less.
    """

    report: RunReport
    cameras: Sequence[Camera]
    watches: Mapping[str, Watch | None]
    machine: Watched

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``: of a single camera its report, otherwise one by name."""
        if len(self.cameras) == 1:
            return {**self._of_camera(self.cameras[0].name), **self.machine.to_json()}
        cameras = {camera.name: self._of_camera(camera.name) for camera in self.cameras}
        return {**self.report.to_json(), "cameras": cameras, **self.machine.to_json()}

    def _of_camera(self, name: str) -> dict[str, Any]:
        watch = self.watches[name]
        counted = {} if watch is None else {"objects": watch.objects, "counts": watch.counts}
        return {**self.report.cameras[name].to_json(), **counted}

    def table(self) -> RenderableType:
        """Make a table of the numbers."""
        return run_table(self.report)

    def headline(self) -> str:
        """Tell the most important numbers of each camera."""
        reports = self.report.cameras
        if len(reports) == 1:
            return "".join(map(_headline, reports.values()))
        return "; ".join(f"{name}: {_headline(report)}" for name, report in reports.items())

    def say_end(self, log: Log) -> None:
        """Say how the machine was, what was counted, why frames were left out, and what was written."""
        self.machine.say_end()
        several = len(self.cameras) > 1
        written: set[str] = set()
        for camera in self.cameras:
            label, watch = camera.name if several else None, self.watches[camera.name]
            for sentence in watch.sentences() if watch else ():
                log.line(sentence, "run", camera=label)
            if camera.source.trouble:
                log.line(f"frames were left out: {camera.source.trouble}", "source", "warning", label)
            paths = {str(sink.path) for sink in camera.sinks if sink.path is not None} - written
            written |= paths
            for path in sorted(paths):
                log.line(f"written: {path}", "output", camera=label)


def run_table(report: RunReport) -> Table:
    """Make a table of a run's numbers, while it lasts or at its end."""
    reports = list(report.cameras.values())
    if len(reports) == 1:
        return report_table(reports[0])
    table = cameras_table(report)
    shares = report.shares.values()
    table.caption = f"{report.fps:.1f} FPS in all, each camera {min(shares):.0%} to {max(shares):.0%}"
    table.caption_justify, table.caption_style = "left", "bold"
    return table


def report_table(report: LoopReport) -> Table:
    """Make a table of a loop's numbers, while it runs or at its end."""
    from rich.table import Table

    table = Table(box=None, caption=_headline(report), caption_justify="left", caption_style="bold", min_width=78)
    for name in ("milliseconds", "p50", "p90", "p99"):
        table.add_column(name, justify="left" if name == "milliseconds" else "right")
    rows: dict[str, Percentiles] = {
        **report.stages,
        "latency (capture to result)": report.latency,
        "frame age (capture to shown)": report.age,
    }
    for name, times in rows.items():
        table.add_row(name, *(f"{1000 * value:.1f}" for value in times))
    return table


def _headline(report: LoopReport) -> str:
    from ssd_edge.stream.ledger import in_words

    parts = [
        f"{report.fps:.1f} FPS",
        f"{report.processed} frames of {report.sent}",
        f"{report.detections} detections",
    ]
    if report.frames_cut:
        parts.append(f"top-k cut candidates in {report.frames_cut} frames")
    if report.reconnects:
        parts.append(f"{report.reconnects} reconnects")
    if report.health is not None and report.health.outage_count:
        parts.append(f"{report.health.outage_count} outages of {report.health.outage_seconds:.1f} s")
    if report.frozen:
        parts.append(f"{report.frozen} frozen")
    if report.black:
        parts.append(f"{report.black} black")
    for output in report.outputs:
        if lost := sum(output.dropped.values()):
            parts.append(f"{lost} lost by {output.name}")
    if report.interrupted:
        parts.append("interrupted")
    missing = f"; not shown: {in_words(report.ledger)}" if report.ledger else ""
    return ", ".join(parts) + missing
