"""Recordings in pieces: each plays alone and at natural speed, none is overwritten, and none grows for ever."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from ssd_edge.errors import SinkError
from ssd_edge.outputs import growing, video
from ssd_edge.outputs.json_lines import JsonLines
from ssd_edge.outputs.limits import NO_LIMIT, Limit
from ssd_edge.outputs.pieces import Pieces
from ssd_edge.outputs.video import Video, video_pieces
from ssd_edge.stream.frames import Frame
from tests.outputs.test_sinks import tiny_disk
from tests.outputs.worlds import NOTHING, blank

__all__ = ["tiny_disk"]

SUFFIXES = [".mp4", ".mkv", ".avi"]


def grey(index: int, position: float | None, size: tuple[int, int] = (48, 64)) -> Frame:
    """A frame whose halves tell the digits of its index, by levels that no codec takes for each other."""
    pixels = np.empty((*size, 3), np.uint8)
    pixels[:, : size[1] // 2], pixels[:, size[1] // 2 :] = (15 + 25 * digit for digit in divmod(index % 100, 10))
    return Frame(pixels, index, 0.0, position)


def played(path: Path) -> list[tuple[float, int]]:
    """Time and index of each frame of a video of fewer than 100; the file is read with no other's help."""
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]
    return [(float(time or 0), _index(picture)) for time, picture in frames]


def _index(picture: np.ndarray) -> int:
    quarter = picture.shape[1] // 4
    tens, ones = (round((float(np.median(part)) - 15) / 25) for part in (picture[:, :quarter], picture[:, -quarter:]))
    return 10 * tens + ones


def write_noise(sink: Video, count: int) -> None:
    for index in range(count):
        noise = np.random.default_rng(index).integers(0, 256, (120, 160, 3), np.uint8)
        sink.write(Frame(noise, index, 0.0, index / 20), NOTHING)


def pieces_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_video_rotates_by_time(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with Video(path, (), 20, video_pieces(path, Limit(seconds=1.0))) as sink:
        for index in range(50):
            sink.write(grey(index, index / 20), NOTHING)
    pieces = [played(piece) for piece in pieces_in(tmp_path)]
    assert [index for piece in pieces for _, index in piece] == list(range(50))
    assert [len(piece) for piece in pieces] == [21, 21, 8]
    for piece in pieces:
        np.testing.assert_allclose([time for time, _ in piece], np.arange(len(piece)) / 20, atol=0.0011)
    assert not path.exists()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_video_rotates_by_size(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with Video(path, (), 20, video_pieces(path, Limit(size=100_000))) as sink:
        write_noise(sink, 60)
    pieces = pieces_in(tmp_path)
    assert len(pieces) >= 3
    assert all(100_000 <= piece.stat().st_size < 700_000 for piece in pieces[:-1])
    assert sum(len(played(piece)) for piece in pieces) == 60


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_video_without_a_limit_is_one_file_and_the_next_run_overwrites_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    for run in range(2):
        with Video(path, (), 20) as sink:
            for index in range(10):
                sink.write(grey(index + run, index / 20), NOTHING)
        assert pieces_in(tmp_path) == [path]
    assert [index for _, index in played(path)] == list(range(1, 11))


def test_a_restart_with_a_limit_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    for _ in range(3):
        with Video(path, (), 20, video_pieces(path, Limit(seconds=60))) as sink:
            sink.write(grey(0, 0.0), NOTHING)
    assert len(pieces_in(tmp_path)) == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_video_opened_again_after_an_error_overwrites_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    pieces = video_pieces(path)
    for opening in range(3):
        with Video(path, (), 20, pieces) as sink:
            for index in range(5):
                sink.write(grey(10 * opening + index, index / 20), NOTHING)
    found = [[index for _, index in played(piece)] for piece in pieces_in(tmp_path)]
    assert sorted(found) == [[0, 1, 2, 3, 4], [10, 11, 12, 13, 14], [20, 21, 22, 23, 24]]
    assert path in pieces_in(tmp_path)


def test_another_size_or_an_outage_begins_a_new_piece(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with Video(path, (), 20) as sink:
        for index, (position, size) in enumerate(
            [(0.0, (48, 64)), (0.1, (48, 64)), (0.2, (96, 128)), (30.0, (96, 128)), (95.0, (96, 128)), (1.0, (96, 128))]
        ):
            sink.write(grey(index, position, size), NOTHING)
    pieces = {piece: played(piece) for piece in pieces_in(tmp_path)}
    assert sorted([index for _, index in frames] for frames in pieces.values()) == [[0, 1], [2, 3], [4], [5]]
    assert all(frames[0][0] == 0 for frames in pieces.values())


def test_an_avi_of_a_camera_that_loses_frames_plays_at_natural_speed(tmp_path: Path) -> None:
    """Two of three frames are dropped: it took the time of ten frames a second, and so it plays."""
    path = tmp_path / "out.avi"
    with Video(path, (), 30) as sink:
        for index in range(0, 90, 3):
            sink.write(grey(index, index / 30 + 0.004 * (index % 2)), NOTHING)
    frames = played(path)
    np.testing.assert_allclose([time for time, _ in frames], np.arange(0, 90, 3) / 30, atol=1 / 30)
    assert [index for _, index in frames] == list(range(0, 90, 3))
    with av.open(str(path)) as container:
        assert float(container.duration or 0) / av.time_base == pytest.approx(88 / 30, abs=0.05)


def test_an_avi_of_a_camera_faster_than_it_said_does_not_fall_behind(tmp_path: Path) -> None:
    path = tmp_path / "out.avi"
    with Video(path, (), 10) as sink:
        for index in range(90):
            sink.write(grey(index, index / 30), NOTHING)
    frames = played(path)
    assert len(frames) == pytest.approx(30, abs=2)
    for time, index in frames:
        assert abs(time - index / 30) <= 0.151  # a frame and a half


def test_the_memory_of_an_index_does_not_grow_for_ever(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        pieces = video_pieces(tmp_path / f"out{suffix}")
        assert pieces.full(0, 24 * 3600.0)
        assert not pieces.full(0, 3600.0)
    assert video_pieces(tmp_path / "out.avi", Limit(seconds=3600)).full(1 << 30, 1)
    assert not Pieces(tmp_path / "out.jsonl").full(1 << 40, 1e9)
    assert not NO_LIMIT


def test_a_piece_in_which_nothing_was_written_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise SinkError("this build of FFmpeg has none")

    monkeypatch.setattr(video, "Recording", fail)
    with pytest.raises(SinkError, match="has none"):
        Video(tmp_path / "out.mp4", (), 20).write(grey(0, 0.0), NOTHING)
    assert pieces_in(tmp_path) == []


def test_a_full_disk_leaves_no_empty_pieces(tiny_disk: Path) -> None:
    path = tiny_disk / "out.mp4"
    pieces = video_pieces(path)
    for _ in range(5):
        with pytest.raises(SinkError, match="No space left"), Video(path, (), 20, pieces) as sink:
            write_noise(sink, 400)
    assert 1 <= len(pieces_in(tiny_disk)) <= 2
    assert all(piece.stat().st_size > 0 for piece in pieces_in(tiny_disk))


def lines(path: Path) -> list[int]:
    assert path.read_bytes().endswith(b"\n")
    return [json.loads(line)["index"] for line in path.read_text().splitlines()]


def test_json_rotates_by_size_in_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for run in range(2):
        with JsonLines(path, (), Pieces(path, Limit(size=300))) as sink:
            for index in range(20):
                sink.write(blank(20 * run + index), NOTHING)
    pieces = pieces_in(tmp_path)
    assert len(pieces) > 6
    assert [index for piece in pieces for index in lines(piece)] == list(range(40))
    assert not path.exists()


def test_json_rotates_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(growing, "monotonic", lambda: now[0])
    path = tmp_path / "out.jsonl"
    with JsonLines(path, (), Pieces(path, Limit(seconds=10))) as sink:
        for index in range(25):
            sink.write(blank(index), NOTHING)
            now[0] += 1
    assert [lines(piece) for piece in pieces_in(tmp_path)] == [
        list(range(10)),
        list(range(10, 20)),
        list(range(20, 25)),
    ]


def test_json_that_is_opened_again_goes_on_in_the_same_piece(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    pieces = Pieces(path, Limit(size=10_000))
    for index in range(3):
        with JsonLines(path, (), pieces) as sink:
            sink.write(blank(index), NOTHING)
    (piece,) = pieces_in(tmp_path)
    assert lines(piece) == [0, 1, 2]
    piece.write_text('{"no line feed"')
    with JsonLines(path, (), pieces) as sink:
        sink.write(blank(3), NOTHING)
    assert lines(piece) == [3]


def test_a_folder_that_cannot_be_written_is_said_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SinkError, match="there is no folder"):
        Video(file / "out.mp4", ())
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(SinkError, match="Is a directory"):
        Video(tmp_path / "out.mp4", ())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out.mp4"]
