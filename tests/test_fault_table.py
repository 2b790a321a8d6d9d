"""The table of faults: each judgement fails where its fault is planted, and every fault has a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from faults import catalogue, truth
from faults.row import Row, line, skipped
from faults.truth import Shown

from tests.stream.coded import drawn_at, picture

BEGAN, ENDED = 102.0, 104.0


def usual() -> list[Shown]:
    """A stream of 10 FPS whose frames are shown 0.1 s after they were drawn; none for 2 s."""
    drawn = [100 + 0.1 * n for n in range(20)] + [ENDED + 0.3 + 0.1 * n for n in range(20)]
    return [Shown(at=when + 0.1, told=when - 50.0, drawn=when) for when in drawn]


def test_a_stream_that_recovers_has_nothing_wrong() -> None:
    shown = usual()
    assert truth.what_is_wrong(shown, BEGAN) == []
    assert truth.recovery(shown, ENDED) == pytest.approx(0.4)
    assert truth.lost(shown, BEGAN, ENDED + 0.4, 10) == 22


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (Shown(at=104.2, told=54.1, drawn=102.0), "told as new"),
        (Shown(at=104.2, told=52.0, drawn=102.0), "2.2 s old"),
        (Shown(at=104.2, told=54.1, drawn=None), "garbled"),
        (Shown(at=104.2, told=54.1, drawn=101.9), "twice"),
    ],
)
def test_each_planted_fault_is_seen(planted: Shown, said: str) -> None:
    shown = sorted([*usual(), planted], key=lambda one: one.at)
    assert any(said in sentence for sentence in truth.what_is_wrong(shown, BEGAN))


def test_no_frame_at_all() -> None:
    assert truth.what_is_wrong([], BEGAN) == ["no frame came before the fault"]
    assert truth.recovery([], ENDED) is None


@pytest.mark.parametrize("scale", [1, 2, 0.5])
def test_a_drawn_time_is_read_at_any_size(scale: float) -> None:
    from time import monotonic

    drawn = cv2.resize(picture(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    now = monotonic()
    found = drawn_at(drawn, now)
    assert found is not None
    assert 0 <= now - found < 1
    drawn[: len(drawn) // 2] = 255 - drawn[: len(drawn) // 2]
    assert drawn_at(drawn, now) is None


def test_lines_are_joined_with_their_pictures(tmp_path: Path) -> None:
    from time import monotonic

    cv2.imwrite(str(tmp_path / "000007.jpg"), picture())
    lines: list[tuple[float, dict[str, Any]]] = [(1.0, {"index": 6, "time": 0.2}), (2.0, {"index": 7, "time": 0.3})]
    (shown,) = truth.shown_frames(lines, tmp_path)
    assert (shown.at, shown.told) == (2.0, 0.3)
    assert shown.drawn == pytest.approx(monotonic(), abs=1)


def test_a_recording_that_is_cut_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(5):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    assert truth.unreadable([path]) == []
    assert truth.frames_in([path]) == 5
    path.write_bytes(path.read_bytes()[:50])
    assert truth.unreadable([path])


def test_a_late_recovery_misses_the_goal() -> None:
    rows = Row("late", recovery=2.1), Row("soon", lost=3, recovery=1.9, reported=["a", "b"])
    for row in rows:
        row.judge()
    assert [row.met for row in rows] == [False, True]
    assert line(rows[1]) == "| soon | 3 | 1.90 s | a; b | yes |"
    assert "recovery took 2.1 s" in line(rows[0])
    assert "not run: no broker" in line(skipped("broker", "no broker"))


def test_all_faults_have_a_name() -> None:
    assert len(catalogue.FAULTS) >= 19
    assert all(name == name.lower() for name in catalogue.FAULTS)
