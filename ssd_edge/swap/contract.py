"""What a new engine must keep to before, and for a while after, it takes over."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Contract:
    """Limits and durations of a trial.

    Attributes:
        share: most of the time that comparing may take, as a share; the rest is the loop's alone.
        frames, seconds: how many frames are compared at least before the take-over, and for how long.
        detections: how many detections are compared at least before it.
        disagreement: largest allowed share of detections that only one of the two engines has.
        slower: most times that the candidate may take of the old engine's time for a frame, as lower deciles.
        late: how much larger the share of frames that are left out for their age may become.
        growth: bytes by which the candidate's memory may grow in each of the two phases.
        probation_frames, probation_seconds: after the take-over, how many frames the candidate processes at least, and
            for how long, until the old engine is let go.
        patience: seconds after which a candidate is refused that could not be compared enough.
    """

    share: float = 0.1
    frames: int = 200
    seconds: float = 20.0
    detections: int = 20
    disagreement: float = 0.2
    slower: float = 1.5
    late: float = 0.02
    growth: int = 64_000_000
    probation_frames: int = 1000
    probation_seconds: float = 60.0
    patience: float = 1800.0
