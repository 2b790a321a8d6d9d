"""Recordings keep within a quota and leave a floor free; only their own oldest files ever make room."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ssd_edge.errors import SinkError
from ssd_edge.outputs.isolated import Isolated
from ssd_edge.outputs.json_lines import JsonLines
from ssd_edge.outputs.limits import Limit
from ssd_edge.outputs.pieces import Pieces
from ssd_edge.outputs.rules import pieces_within
from ssd_edge.outputs.series import Series
from ssd_edge.outputs.sink import DiskFullError
from ssd_edge.outputs.space import Space
from tests.outputs.worlds import NOTHING, blank, until

MakeSpace = Callable[..., Space]


class Disk:
    """A disk of a size, filled by what is in a folder and by what others have on it."""

    def __init__(self, folder: Path, total: int = 100_000_000_000) -> None:
        self.folder, self.total, self.others, self.now = folder, total, 0, 0.0

    def usage(self, path: Path) -> tuple[int, int, int]:
        used = self.others + sum(each.lstat().st_size for each in self.folder.rglob("*") if each.is_file())
        return self.total, used, self.total - used

    def clock(self) -> float:
        self.now += 10.0
        return self.now


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make_space(disk: Disk, said: list[str]) -> MakeSpace:
    def make(quota: int | None = None, floor: int | None = None) -> Space:
        return Space(quota, floor, said.append, usage=disk.usage, clock=disk.clock)

    return make


def record(series: Series, size: int, modified: float) -> str:
    path, file = series.begin(".mp4")
    file.write(bytes(size))
    file.close()
    series.in_use.clear()
    os.utime(path, (modified, modified))
    return path.name


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_oldest_recordings_go_first_and_nothing_else(
    tmp_path: Path, make_space: MakeSpace, said: list[str]
) -> None:
    (tmp_path / "other-00000001-20200101T000000Z.mp4").write_bytes(bytes(9000))
    (tmp_path / "a.mp4").write_bytes(bytes(9000))
    target = tmp_path / "precious"
    target.write_bytes(bytes(9000))
    (tmp_path / "a-00000001-20190101T000000Z.mp4").symlink_to(target)
    before = names(tmp_path)
    space = make_space(quota=3000)
    a, b = space.series(tmp_path, "a", [".mp4"]), space.series(tmp_path, "b", [".mp4"])
    recorded = [record(one, 1000, modified) for one, modified in ((a, 10), (b, 20), (a, 30), (b, 40), (a, 50))]
    space.check(tmp_path)
    assert names(tmp_path) == before | set(recorded[2:])
    assert space.removed == 2
    begin = "recordings have reached their quota of 3 KB: from now on the oldest recordings are removed"
    assert said == [f"{begin}, {tmp_path / recorded[0]} first"]
    assert target.stat().st_size == 9000


def test_in_a_series_numbers_count_since_the_clock_may_jump(tmp_path: Path, make_space: MakeSpace) -> None:
    space = make_space(quota=2000)
    series = space.series(tmp_path, "a", [".mp4"])
    recorded = [record(series, 1000, modified) for modified in (500, 5, 6)]  # a board without a clock starts in 1970
    space.check(tmp_path)
    assert names(tmp_path) == set(recorded[1:])


def test_an_output_that_is_opened_anew_counts_once(tmp_path: Path, make_space: MakeSpace) -> None:
    """As by a reload that rotates at another size; what the old one still writes stays."""
    space = make_space(quota=3000)
    old, new = (Pieces(tmp_path / "a.mp4", Limit(size), space=space) for size in (1000, 500))
    for modified, pieces in enumerate((old, new)):
        with pieces.begin() as file:
            file.write(bytes(1000))
        pieces.end()
        os.utime(pieces.path, (modified, modified))
    before = names(tmp_path)
    with old.begin() as file:
        file.write(bytes(1000))
        space.check(tmp_path)
        assert names(tmp_path) == {*before, old.path.name}
        file.write(bytes(1))
        space.check(tmp_path)
        assert space.removed == 1
        os.utime(old.path, (0, 0))
        file.write(bytes(5000))
        space.check(tmp_path)
        assert names(tmp_path) == {old.path.name}


def test_series_that_share_names_are_one(tmp_path: Path, make_space: MakeSpace) -> None:
    """As of a video that is named ``clip.mp4`` in the folder of clips."""
    space = make_space(quota=3000)
    clips = space.series(tmp_path, "clip", [".mp4", ".json"])
    assert space.series(tmp_path / "." / "x" / "..", "clip", [".mp4"]) is clips
    assert space.series(tmp_path, "clip", [".mkv", ".mp4"]) is clips
    (tmp_path / "clip-00000001-20190101T000000Z.mkv").write_bytes(bytes(2000))
    assert clips.size() == 2000
    others = [space.series(*one) for one in ((tmp_path, "b", [".mp4"]), (tmp_path, "clip", [".avi"]))]
    others.append(space.series(tmp_path.parent, "clip", [".mp4"]))
    assert len({id(one) for one in (clips, *others)}) == 4


def test_what_is_being_written_stays(tmp_path: Path, make_space: MakeSpace) -> None:
    space = make_space(quota=1500)
    series = space.series(tmp_path, "a", [".mp4"])
    old = record(series, 1000, 1)
    path, file = series.begin(".mp4")
    with file:
        file.write(bytes(2000))
        os.utime(path, (0, 0))
        space.check(tmp_path)
        assert names(tmp_path) == {path.name}
        assert old not in names(tmp_path)


def test_a_clip_and_its_json_go_together(tmp_path: Path, make_space: MakeSpace) -> None:
    space = make_space(quota=1500)
    series = space.series(tmp_path, "clip", [".mp4", ".json"])
    first, second = record(series, 800, 1), record(series, 800, 2)
    (tmp_path / first.replace(".mp4", ".json")).write_bytes(bytes(100))
    space.check(tmp_path)
    assert names(tmp_path) == {second}


def test_the_floor_removes_the_oldest_and_then_stops(tmp_path: Path, disk: Disk, make_space: MakeSpace) -> None:
    space = make_space(floor=10_000)
    series = space.series(tmp_path, "a", [".mp4"])
    recorded = [record(series, 1000, modified) for modified in range(5)]
    disk.others = disk.total - 13_000
    space.check(tmp_path)
    assert names(tmp_path) == set(recorded[2:])
    disk.others = disk.total - 12_900
    space.check(tmp_path)
    assert names(tmp_path) == set(recorded[3:])
    disk.others = disk.total - 9_000  # by others: to remove ours would not help
    with pytest.raises(DiskFullError, match=r"less than 10 KB are free on its disk: make room, or .* --disk-floor"):
        space.check(tmp_path)
    assert names(tmp_path) == set(recorded[3:])
    for name in recorded[3:]:
        (tmp_path / name).unlink()
    disk.others = disk.total - 10_100
    with pytest.raises(DiskFullError):  # not yet, lest it begins and ends in turns
        space.check(tmp_path)
    disk.others = disk.total - 10_600
    space.check(tmp_path)
    disk.others = disk.total - 10_100
    space.check(tmp_path)


def test_nothing_is_removed_unasked(tmp_path: Path, disk: Disk, make_space: MakeSpace) -> None:
    space = make_space()
    series = space.series(tmp_path, "a", [".mp4"])
    recorded = record(series, 1000, 1)
    disk.others = disk.total - 900_000_000
    with pytest.raises(DiskFullError, match="less than 1 GB are free"):
        space.check(tmp_path)
    assert names(tmp_path) == {recorded}
    disk.total = 8_000_000_000  # a small disk keeps a twentieth
    disk.others = disk.total - 500_000_000
    space.check(tmp_path)
    disk.others = disk.total - 390_000_000
    with pytest.raises(DiskFullError, match="less than 400 MB are free"):
        space.check(tmp_path)


def test_checks_are_rare_until_the_disk_is_full(tmp_path: Path) -> None:
    asked, now, free = [], [0.0], [5]

    def usage(path: Path) -> tuple[int, int, int]:
        asked.append(path)
        return 100, 0, free[0]

    space = Space(floor=4, usage=usage, clock=lambda: now[0])
    for _ in range(1000):
        space.check(tmp_path)
        now[0] += 0.01
    assert 8 <= len(asked) <= 11
    free[0] = 3
    for _ in range(20):
        with pytest.raises(DiskFullError):
            space.check(tmp_path, now=True)
    with pytest.raises(DiskFullError):
        space.check(tmp_path)


def test_a_full_disk_stops_recording_and_it_goes_on_with_room(
    tmp_path: Path, disk: Disk, make_space: MakeSpace, said: list[str]
) -> None:
    path = tmp_path / "out.jsonl"
    pieces = Pieces(path, space=make_space(floor=10_000))
    with Isolated(lambda: JsonLines(path, (), pieces), "json", said.append) as output:
        output.write(blank(0), NOTHING)
        until(lambda: output.report().written == 1)
        disk.others = disk.total - 9_000
        output.write(blank(1), NOTHING)
        until(lambda: output.report().state == "waiting")
        disk.others = 0
        until(lambda: output.report().state == "writing")
        output.write(blank(2), NOTHING)
    assert [line[:11] for line in path.read_text().splitlines()] == ['{"index": 0', '{"index": 2']
    assert len(said) == 2
    assert "output json: cannot write in" in said[0]
    assert "writes again after" in said[1]
    assert output.report().dropped == {"failed": 1}


def test_pieces_that_fit_into_a_quota() -> None:
    assert pieces_within(None, Limit(5, 6)) == Limit(5, 6)
    assert pieces_within(10_000, Limit()) == Limit(500, 600)
    assert pieces_within(10_000, Limit(seconds=7)) == Limit(500, 7)
    assert pieces_within(10_000, Limit(400)) == Limit(400)
    with pytest.raises(SinkError, match="pieces of 6 KB are too large for a quota of 10 KB: rotate at half of it"):
        pieces_within(10_000, Limit(6000))
