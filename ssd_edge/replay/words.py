"""Say how a replay compares with its recording."""

from __future__ import annotations

from ssd_edge.replay.check import Verdict
from ssd_edge.replay.stages import STAGES


def sentences(verdict: Verdict) -> list[str]:
    """Return the verdict, and what else has to be known of it."""
    said = [_verdict(verdict)]
    if verdict.first is not None:
        parts = [f"{STAGES[stage]} {number}" for stage, number in verdict.different.items()]
        said.append(f"frames by the first stage that differs: {', '.join(parts)}")
        if verdict.other_detections:
            said.append(f"detections differ in {_frames(verdict.other_detections)} of {verdict.frames}")
        else:
            said.append("the detections are the same in all frames")
    if verdict.frames:
        said.append(f"compared: {', '.join(STAGES[stage] for stage in verdict.compared)}")
    if verdict.missing:
        said.append(f"missing from the recording: {_frames(verdict.missing)} that the run showed")
    if verdict.untracked:
        said.append(
            f"tracks of {_frames(verdict.untracked)} are not compared, since frames before are missing or differ"
        )
    for report in verdict.reports:
        latency = report.latency
        said.append(f"{report.fps:.1f} FPS, latency {1000 * latency.p50:.1f} ms (p99 {1000 * latency.p99:.1f} ms)")
    return said


def _verdict(verdict: Verdict) -> str:
    if not verdict.frames:
        return "the recording holds no frame, so nothing can be compared"
    if verdict.first is None:
        return f"equal to the last bit: {_frames(verdict.frames)}"
    return f"different: first in {verdict.first}"


def _frames(number: int) -> str:
    return f"{number} frame{'s' * (number != 1)}"
