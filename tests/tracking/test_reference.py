"""The tracker and the measure of identity beside public programs, on a stored scene; see make_reference.py."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from identity import compare
from tracking_scene import Boxes

from ssd_edge.detections import Detections
from ssd_edge.tracking.tracker import PUBLISHED, Rounds, Settings, State, Tracker
from tests.tracking.make_reference import REFERENCE

Stored = dict[str, npt.NDArray[np.generic]]


@pytest.fixture(scope="module")
def stored() -> Stored:
    with np.load(REFERENCE) as file:
        return dict(file)


def frames_of(stored: Stored) -> Iterator[Detections]:
    for frame in range(int(stored["frames"])):
        here = stored["frame"] == frame
        yield Detections(stored["boxes"][here], stored["scores"][here], np.zeros(here.sum(), np.int64))


def tracks_of(stored: Stored, who: str) -> list[Boxes]:
    frames = (stored[f"{who}_frame"] == frame for frame in range(int(stored["frames"])))
    return [Boxes(stored[f"{who}_names"][here], stored[f"{who}_boxes"][here]) for here in frames]


def differing(stored: Stored, rounds: Rounds) -> int:
    """Count the frames in which the tracker and the authors' give ids to other detections, or other ids.

    They count ids differently, so ids are equal if each always stands for the same. A detection is known by its score.
    """
    # In the authors' program time is counted in frames, and an object is kept for 10 of them at 10 FPS.
    tracker, names, back, wrong = Tracker(Settings([0.6], lost=10 / 30), rounds), {}, {}, 0
    for frame, detections in enumerate(frames_of(stored)):
        tracks = [track for track in tracker.update(detections, frame / 30) if track.state is State.PRESENT]
        ours = {float(detections.scores[track.detection]): track.id for track in tracks}
        here = stored["authors_frame"] == frame
        scores, ids = stored["authors_scores"][here].tolist(), stored["authors_names"][here].tolist()
        theirs = dict(zip(scores, ids, strict=True))
        same = ours.keys() == theirs.keys() and all(
            names.setdefault(ours[score], theirs[score]) == theirs[score]
            and back.setdefault(theirs[score], ours[score]) == ours[score]
            for score in ours
        )
        wrong += not same
    return wrong


def test_ids_equal_those_of_the_papers_program(stored: Stored) -> None:
    assert len(np.unique(stored["authors_names"])) > 40
    assert differing(stored, PUBLISHED) == 0


@pytest.mark.parametrize(
    "rounds", [Rounds(), Rounds(low=0.5, low_finds=()), Rounds(high=0.5, low=0.5, low_finds=(State.PRESENT,))]
)
def test_other_rounds_would_be_noticed(stored: Stored, rounds: Rounds) -> None:
    assert differing(stored, rounds) > 10


def test_identity_equals_trackeval(stored: Stored) -> None:
    found = compare(tracks_of(stored, "truth"), tracks_of(stored, "trackers"))
    counts = (found.kept, found.objects + found.tracked, found.found, found.switches)
    assert counts == tuple(stored["counts"][:4].tolist())
    assert [found.idf1, found.mota] == pytest.approx(stored["counts"][4:].tolist(), rel=1e-12)


def test_identity_of_what_is_perfect_of_what_is_swapped_and_of_nothing(stored: Stored) -> None:
    truth = tracks_of(stored, "truth")
    assert compare(truth, truth).idf1 == compare(truth, truth).mota == 1
    assert compare([], []).idf1 == 1
    nothing = [Boxes(one.names[:0], one.boxes[:0]) for one in truth]
    assert (compare(truth, nothing).idf1, compare(truth, nothing).mota) == (0, 0)
    # An object whose track is another from the middle on: half of it is kept, and one switch is counted.
    box = np.array([[0, 0, 9, 9]], np.float32)
    one = [Boxes(np.array([1]), box)] * 10
    two = [Boxes(np.array([5 + (frame >= 5)]), box) for frame in range(10)]
    found = compare(one, two)
    assert (found.kept, found.found, found.switches) == (5, 10, 1)
    assert (found.idf1, found.mota) == (0.5, 0.9)
