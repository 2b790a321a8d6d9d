"""The collection: whole frames, clean and once, within quota and time, over restarts; a full folder ends it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssd_edge.data.check import check_dataset
from ssd_edge.data.readers import open_dataset
from ssd_edge.data.voc_xml import read_root
from ssd_edge.detections import Detections
from ssd_edge.errors import DataError, SinkError
from ssd_edge.outputs.collect.against import OPPONENTS
from ssd_edge.outputs.collect.budget import Budget
from ssd_edge.outputs.collect.collector import Collect
from ssd_edge.outputs.collect.folder import LABELS, PICTURES, Folder, Written
from ssd_edge.outputs.collect.novelty import Novelty
from ssd_edge.outputs.collect.review import draw_collected, read_collection, review_page
from ssd_edge.outputs.collect.settings import CollectSettings
from ssd_edge.outputs.isolated import Isolated
from ssd_edge.outputs.sink import DiskFullError
from ssd_edge.outputs.space import Space
from ssd_edge.stream.encoded import Encoded
from tests.additions import StillEngine
from tests.helpers import small_spec
from tests.outputs.collect.worlds import BOX, NAMES, OTHER_BOX, SURE, UNSURE, found, frame, picture, problems
from tests.outputs.worlds import NOTHING, Clock, until

ALWAYS = CollectSettings(gap=0.0, share=1.0, camera="door 1")


def collect(folder: Path, scenes: list[int], settings: CollectSettings = ALWAYS, start: int = 0) -> list[str]:
    """Show unsure detections in these scenes, far apart in time; return what was said."""
    said: list[str] = []
    clock = Clock(0.0)
    with Collect(folder, NAMES, settings, say=said.append, clock=clock) as sink:
        for index, scene in enumerate(scenes, start):
            clock.now += 100.0
            sink.write(frame(index, scene, every=100.0), UNSURE)
    return said


def number(folder: Path) -> int:
    assert len(list((folder / PICTURES).iterdir())) == len(list((folder / LABELS).iterdir()))
    return len(list((folder / PICTURES).iterdir()))


def test_a_collection_is_a_data_set_with_suggestions(tmp_path: Path) -> None:
    detections = found((0.9, 0, BOX), (0.55, 1, (-5.4, 10.2, 30.6, 400.0)), (0.45, 0, OTHER_BOX))
    with Collect(tmp_path, NAMES, ALWAYS) as sink:
        sink.write(frame(7), detections)
    (sample,) = check_dataset(open_dataset(tmp_path)).clean
    assert sample.target.boxes.tolist() == [[20, 20, 60, 60], [0, 10, 31, 120]]
    assert sample.target.labels.tolist() == [0, 1]
    saved = cv2.imread(str(sample.image))
    assert np.abs(saved.astype(int) - picture(7)).mean() < 4  # nothing is drawn on it
    assert sample.image.name.startswith("door_1-00000001-")
    (file,) = (tmp_path / LABELS).iterdir()
    about = read_root(file).find("collected")
    assert about is not None
    assert (about.findtext("camera"), about.findtext("frame")) == ("door 1", "7")
    (reason,) = about.findall("reason")
    assert (reason.get("kind"), reason.text) == ("unsure", "nut scores 0.55, shown from 0.50")
    assert problems(tmp_path) == []


def test_each_scene_is_collected_once_over_restarts(tmp_path: Path) -> None:
    collect(tmp_path, [1, 2, 1, 3, 3, 2])
    assert number(tmp_path) == 3
    collect(tmp_path, [3, 1, 4, 2, 4])
    assert number(tmp_path) == 4
    for file in (tmp_path / LABELS).iterdir():  # a labelling tool writes what it knows
        text = file.read_text()
        file.write_text(text[: text.index("<collected>")] + text[text.index("</collected>") + 12 :])
    collect(tmp_path, [1, 2, 3, 4, 5])
    assert number(tmp_path) == 5
    assert problems(tmp_path) == []


def test_a_planted_fault_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Novelty, "is_new", lambda self, look: True)
    collect(tmp_path, [1, 2, 1])
    assert [line.split(":")[0] for line in problems(tmp_path)] == ["alike"]
    next((tmp_path / LABELS).iterdir()).unlink()
    assert problems(tmp_path)[0].startswith("half: ")


def doubtful(number: int) -> Detections:
    """Make detections of which so many are unsure."""
    return found(*[(0.55, 0, (30.0 * k, 20.0, 30.0 * k + 20, 60.0)) for k in range(number)])


def test_what_is_collected_at_random(tmp_path: Path) -> None:
    """Of each stretch of time, which begins with an unsure frame, that with the most doubts whose scene is new."""
    rng = np.random.default_rng(3)
    settings = CollectSettings(gap=40.0, share=1.0)
    for run in range(6):
        folder, clock = tmp_path / str(run), Clock(0.0)
        expected, stretch, scenes = list[int](), list[tuple[int, int, int]](), set[int]()
        with Collect(folder, NAMES, settings, clock=clock) as sink:
            for index in range(60):
                clock.now += 10.0
                scene, doubts = int(rng.integers(12)), int(rng.integers(4))
                sink.write(frame(index, scene, every=10.0), doubtful(doubts) if doubts else SURE)
                if doubts and scene not in scenes:
                    stretch.append((doubts, -index, scene))
                if stretch and index + stretch[0][1] >= 4:
                    _, first, chosen = max(stretch)
                    expected.append(-first)
                    scenes.add(chosen)
                    stretch = []
        expected += [-first for _, first, _ in stretch and [max(stretch)]]  # what is chosen at the end
        roots = [read_root(file) for file in sorted((folder / LABELS).iterdir())]
        assert [int(root.findtext("collected/frame") or "") for root in roots] == expected
        assert problems(folder) == []


def test_a_frame_is_collected_once_with_all_its_reasons(tmp_path: Path) -> None:
    """Also with one that is known a frame later: that an object was seen in this frame only."""
    engine = Second(found((0.9, 1, OTHER_BOX)))
    clock = Clock(0.0)  # so that a busy machine takes nothing from the share
    with Collect(tmp_path, NAMES, beside(engine, gap=5.0, share=1.0), clock=clock) as sink:
        for index, doubts in enumerate((1, 3, 2)):
            clock.now += 1.0
            sink.write(frame(index), doubtful(doubts))
        assert number(tmp_path) == 0  # a harder one may come
    (collected,) = read_collection(tmp_path).frames
    assert [kind for kind, _ in collected.reasons] == ["disagree", "unsure", "flicker"]
    (file,) = (tmp_path / LABELS).iterdir()
    assert read_root(file).findtext("collected/frame") == "1"


@pytest.mark.parametrize("settings", [CollectSettings(frames=3, gap=0, share=1), CollectSettings(size=20_000, gap=0)])
def test_a_full_folder_stops_collecting_and_says_it_once(tmp_path: Path, settings: CollectSettings) -> None:
    (line,) = collect(tmp_path, list(range(20)), settings)
    full = number(tmp_path)
    assert full < 10
    holds = f"{tmp_path} holds {full} frames, "
    assert line.startswith(f"from now on, a frame is collected only in place of an easier one of this run: {holds}")
    (line,) = collect(tmp_path, [30, 31], settings)
    assert line.startswith(f"collecting has stopped: {holds}")
    assert number(tmp_path) == full


def harder_and_harder(folder: Path, settings: CollectSettings, doubts: Sequence[int], start: int = 0) -> None:
    """Show scenes far apart in time with so many doubtful objects."""
    clock = Clock(0.0)
    with Collect(folder, NAMES, settings, clock=clock) as sink:
        for index, number_of in enumerate(doubts, start):
            clock.now += 100.0
            sink.write(frame(index, index, every=100.0), doubtful(number_of))


def indices(folder: Path) -> list[int]:
    number(folder)
    return sorted(int(read_root(file).findtext("collected/frame") or "") for file in (folder / LABELS).iterdir())


def test_in_a_full_folder_harder_frames_take_the_place_of_the_easiest(tmp_path: Path) -> None:
    settings = CollectSettings(frames=3, gap=0, share=1)
    harder_and_harder(tmp_path, settings, [2, 1, 4, 1, 3, 2, 5])
    assert indices(tmp_path) == [2, 4, 6]  # of equal ones the first stays
    harder_and_harder(tmp_path, settings, [9, 9], start=10)
    assert indices(tmp_path) == [2, 4, 6]  # what earlier runs collected stays


def test_a_frame_whose_labels_were_corrected_keeps_its_place(tmp_path: Path) -> None:
    clock = Clock(0.0)
    with Collect(tmp_path, NAMES, CollectSettings(frames=2, gap=0, share=1), clock=clock) as sink:
        for index, doubts in enumerate((1, 2, 3, 4)):
            clock.now += 100.0
            sink.write(frame(index, index, every=100.0), doubtful(doubts))
            if index == 0:
                clock.now += 100.0
                sink.write(frame(9, 9, every=100.0), SURE)
                (file,) = (tmp_path / LABELS).iterdir()
                file.write_text(file.read_text().replace(NAMES[0], NAMES[1]) + "\n")
    assert indices(tmp_path) == [0, 3]


def test_a_frame_that_is_taken_away_as_it_is_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone takes it between the look at its files and its removal."""
    remove = Folder.remove

    def take_away(folder: Folder, frame: Written) -> None:
        frame.picture.unlink()
        frame.labels.unlink()
        remove(folder, frame)

    monkeypatch.setattr(Folder, "remove", take_away)
    harder_and_harder(tmp_path, CollectSettings(frames=1, gap=0, share=1), [1, 2, 3])
    assert indices(tmp_path) == [2]


def test_harder_frames_keep_to_the_size_of_the_folder(tmp_path: Path) -> None:
    settings = CollectSettings(size=20_000, gap=0, share=1)
    harder_and_harder(tmp_path, settings, [1 + index // 2 for index in range(12)])
    sizes = [file.stat().st_size for name in (PICTURES, LABELS) for file in (tmp_path / name).iterdir()]
    assert sum(sizes) <= 20_000 + 2 * max(sizes)  # as before: the last frame may go beyond
    assert max(indices(tmp_path)) >= 10


def test_a_power_cut_while_a_frame_is_removed(tmp_path: Path) -> None:
    collect(tmp_path, [1, 2, 3])
    first = sorted((tmp_path / LABELS).iterdir())[0]
    first.rename(first.with_name(f".{first.name}.part"))
    collect(tmp_path, [])
    assert number(tmp_path) == 2
    assert not list((tmp_path / LABELS).glob(".*"))


def test_a_folder_that_is_emptied_is_filled_again(tmp_path: Path) -> None:
    said, clock = list[str](), Clock(0.0)
    with Collect(tmp_path, NAMES, CollectSettings(frames=1, gap=0, share=1), say=said.append, clock=clock) as sink:
        for index in range(4):
            clock.now += 100
            sink.write(frame(index, every=100.0), UNSURE)
            if index == 1:
                for name in (PICTURES, LABELS):
                    shutil.rmtree(tmp_path / name)
                    (tmp_path / name).mkdir()
    full, room, again = (line.split(":")[0] for line in said)
    assert (full[:11], room, again) == ("from now on", "collecting goes on", full)
    assert number(tmp_path) == 1


def test_the_loop_goes_on_beside_a_full_folder(tmp_path: Path) -> None:
    settings = CollectSettings(frames=1, gap=0, share=1)
    sink = Isolated(lambda: Collect(tmp_path, NAMES, settings), "collect", print)
    assert sink.every
    for index in range(10):
        sink.write(frame(index, every=100.0), UNSURE)
    until(lambda: sink.report().written == 10)
    sink.close()
    assert (sink.report().dropped, sink.report().last_error, number(tmp_path)) == ({}, "", 1)


def test_a_frame_cut_off_by_a_power_cut_is_not_there(tmp_path: Path) -> None:
    collect(tmp_path, [1, 2, 3])
    last = sorted((tmp_path / LABELS).iterdir())[-1]
    last.unlink()  # its picture was there, its labels not yet
    (tmp_path / PICTURES / f".{last.stem}.jpg.77.part").write_bytes(b"half")
    own = tmp_path / PICTURES / "mine.jpg"
    own.write_bytes(b"a user's file")
    collect(tmp_path, [])
    assert len(list((tmp_path / LABELS).iterdir())) == 2
    assert len(list((tmp_path / PICTURES).iterdir())) == 3
    assert own.exists()


def test_a_frame_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Collect(tmp_path, NAMES, ALWAYS)
    (tmp_path / LABELS).rmdir()
    (tmp_path / LABELS).write_text("in the way")
    with pytest.raises(SinkError, match="cannot write"):
        sink.write(frame(1), UNSURE)
    assert list((tmp_path / PICTURES).iterdir()) == []
    full = Space(usage=lambda path: (100, 100, 0))
    with pytest.raises(DiskFullError):
        Collect(tmp_path / "more", NAMES, ALWAYS, space=full)


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot write"):
        Collect(tmp_path / "file", NAMES)


def test_work_keeps_to_its_share_of_the_time() -> None:
    rng, clock = np.random.default_rng(1), Clock(0.0)
    budget, worked, longest = Budget(0.05, clock), 0.0, 0.0
    for _ in range(5000):
        clock.now += float(rng.exponential(0.02))
        if budget.allows:
            piece = float(rng.exponential(0.1))
            with budget.spend():
                clock.now += piece
            worked, longest = worked + piece, max(longest, piece)
        assert worked <= 0.05 * clock.now + longest
    assert worked > 0.03 * clock.now


def test_a_night_without_work_is_not_made_up_for() -> None:
    clock = Clock(0.0)
    budget = Budget(0.05, clock)
    clock.now += 36_000
    worked = 0.0
    while budget.allows:
        with budget.spend():
            clock.now += 0.1
        worked += 0.1
    assert worked < 1.3


class Second(StillEngine):
    """A second engine whose detector finds what a test says, in as much time of a clock as it says."""

    def __init__(self, finds: Detections, takes: Callable[[], None] = lambda: None, **spec: object) -> None:
        super().__init__(small_spec(**spec))
        self._finds, self._takes, self.asked = finds, takes, 0

    def detector(self, min_score: float = 0.0):  # type: ignore[no-untyped-def]
        engine = self

        class Finder:
            def __call__(self, pixels: object) -> Detections:
                engine.asked += 1
                engine._takes()
                return engine._finds

            def close(self) -> None:
                pass

        return Finder()


def beside(engine: Second, **settings: object) -> CollectSettings:
    return CollectSettings(**{"gap": 0.0, "against": "b.engine", "open_engine": lambda path: engine, **settings})  # type: ignore[arg-type]


def test_frames_in_which_two_engines_disagree(tmp_path: Path) -> None:
    engine = Second(NOTHING)
    with Collect(tmp_path, NAMES, beside(engine, share=1.0)) as sink:
        sink.write(frame(0), SURE)
        sink.write(frame(1), NOTHING)
    assert (engine.asked, engine.closed) == (2, True)
    ((kind, text),) = read_collection(tmp_path).frames[0].reasons
    assert (kind, text, number(tmp_path)) == ("disagree", "bolt 0.90 only here", 1)


def test_the_second_engine_has_its_share_of_the_time(tmp_path: Path) -> None:
    clock = Clock(0.0)

    def takes() -> None:
        clock.now += 0.5

    engine = Second(SURE, takes)
    with Collect(tmp_path, NAMES, beside(engine, share=0.1), clock=clock) as sink:
        for index in range(2000):
            clock.now += 0.05
            sink.write(frame(0, 0), SURE)
            assert 0.5 * engine.asked <= 0.05 * clock.now + 0.5, index
    assert 0.5 * engine.asked > 0.04 * clock.now


def test_cameras_share_the_second_engine_and_the_last_closes_it(tmp_path: Path) -> None:
    engine = Second(NOTHING)
    sinks = [Collect(tmp_path / name, NAMES, beside(engine)) for name in "ab"]
    sinks[0].close()
    sinks[0].close()
    assert not engine.closed
    sinks[1].close()
    assert engine.closed
    assert not OPPONENTS._newest


def test_a_second_engine_that_does_not_fit(tmp_path: Path) -> None:
    engine = Second(NOTHING, labels=("cat", "dog"))
    with pytest.raises(SinkError, match=r"it detects .*cat.*name one with the same labels"):
        Collect(tmp_path, NAMES, beside(engine))
    assert engine.closed

    def fails(path: Path) -> Second:
        raise DataError("it is gone")

    with pytest.raises(SinkError, match=r"compared with b\.engine: it is gone"):
        Collect(tmp_path, NAMES, beside(engine, open_engine=fails))


def test_a_page_shows_each_frame_with_its_reasons(tmp_path: Path) -> None:
    collect(tmp_path / "hard", [1, 2])
    review = read_collection(tmp_path / "hard")
    assert review.by_reason() == {"unsure": 2}
    assert [frame.boxes for frame in review.frames] == [(("bolt", BOX),)] * 2
    page = review_page(review, "<hard>")
    assert page.count("<figure>") == page.count("bolt scores 0.55, shown from 0.50") == 2
    assert "&lt;hard&gt;" in page
    image = picture(1)
    drawn = draw_collected(image, review.frames[0], ["bolt"])
    assert drawn.shape == image.shape
    assert (drawn != image).any(axis=2).mean() > 0.01


def test_a_page_of_what_is_damaged_or_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="so it is no collection"):
        read_collection(tmp_path)
    collect(tmp_path, [])
    assert "Nothing has been collected yet" in review_page(read_collection(tmp_path), "x")
    collect(tmp_path, [1, 2, 3])
    first, second, third = sorted((tmp_path / LABELS).iterdir())
    first.write_text("<!DOCTYPE x [<!ENTITY y 'z'>]><annotation/>")
    (tmp_path / PICTURES / f"{second.stem}.jpg").unlink()
    (tmp_path / PICTURES / f"{third.stem}.jpg").write_bytes(b"no picture")
    review = read_collection(tmp_path)
    assert (len(review.frames), len(review.unread)) == (1, 2)
    page = review_page(review, "x")
    assert page.count("<li>") == 3
    assert "<figure>" not in page


def test_a_source_that_begins_anew_is_collected_from_at_once(tmp_path: Path) -> None:
    clock = Clock(0.0)
    with Collect(tmp_path, NAMES, CollectSettings(gap=50.0, share=1.0), clock=clock) as sink:
        sink.write(frame(1, 1, every=1000.0), UNSURE)
        clock.now += 1
        sink.write(frame(0, 2), UNSURE)
    assert number(tmp_path) == 2


@pytest.mark.parametrize("change", ["", "cut off", "no tables", "to be turned", "PNG"])
def test_the_jpeg_of_a_camera_is_kept_if_every_program_can_read_it(tmp_path: Path, change: str) -> None:
    plain = frame(1)
    data = cv2.imencode(".png" if change == "PNG" else ".jpg", plain.image)[1].tobytes()
    if change == "cut off":
        data = data[:-2]
    if change == "no tables":
        data = data.replace(b"\xff\xc4", b"\xff\xfe")
    if change == "to be turned":
        data = data[:2] + b"\xff\xe1\x00\x0aExif\x00\x00\x00\x00" + data[2:]
    with Collect(tmp_path, NAMES, ALWAYS) as sink:
        sink.write(replace(plain, encoded=Encoded("mjpeg", data)), UNSURE)
    (file,) = (tmp_path / PICTURES).iterdir()
    assert (file.read_bytes() == data) == (change == "")
    assert cv2.imread(str(file)).shape == plain.image.shape
