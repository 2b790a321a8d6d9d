"""Annotated images come under the quota with all other recordings; other pictures in their folder never do."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssd_edge.errors import SinkError
from ssd_edge.outputs import gallery as gallery_module
from ssd_edge.outputs.gallery import Gallery, marked
from ssd_edge.outputs.images import Images
from ssd_edge.outputs.jpeg import as_jpeg
from ssd_edge.outputs.space import Space
from tests.outputs.worlds import NOTHING, blank

PICTURE = np.random.default_rng(7).integers(0, 255, (24, 32, 3), np.uint8)


def space_of(quota: int | None) -> Space:
    return Space(quota, usage=lambda path: (10**11, 0, 10**11), clock=count(0.0, 10.0).__next__)


def image(folder: Path, name: str, size: int, modified: float) -> str:
    """Leave an image as an earlier run did."""
    data = marked(as_jpeg(PICTURE, 90, ""))
    (folder / name).write_bytes(data + bytes(size - len(data)))
    os.utime(folder / name, (modified, modified))
    return name


def known(space: Space, folder: Path) -> Gallery:
    gallery = space.gallery(folder)
    assert gallery is not None
    assert gallery.listed.wait(10)
    return gallery


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_images_of_earlier_runs_go_with_other_recordings_oldest_first(tmp_path: Path) -> None:
    space = space_of(6000)
    old = [image(tmp_path, f"{index:06d}.jpg", 2000, modified) for index, modified in ((9, 10), (10, 30), (0, 50))]
    videos = [tmp_path / f"out-0000000{number}-20260731T115019Z.mp4" for number in (1, 2)]
    for path, modified in zip(videos, (20, 40), strict=True):
        path.write_bytes(bytes(2000))
        os.utime(path, (modified, modified))
    space.series(tmp_path, "out", [".mp4"])
    known(space, tmp_path)
    space.check(tmp_path)
    assert names(tmp_path) == {old[1], videos[1].name, old[2]}
    assert space.removed == 2


def test_a_run_keeps_its_own_images_within_the_quota(tmp_path: Path) -> None:
    size = len(marked(as_jpeg(blank(0).image, 92, "")))
    space = space_of(5 * size)
    old = image(tmp_path, "000099.jpg", 3 * size, 0)
    known(space, tmp_path)
    with Images(tmp_path, (), space=space) as images:
        for index in range(3):
            images.write(blank(index), NOTHING)
        assert names(tmp_path) == {old, *(f"00000{index}.jpg" for index in range(3))}  # checked before each write
        for index in range(3, 9):
            images.write(blank(index), NOTHING)
    space.check(tmp_path)
    assert names(tmp_path) == {f"00000{index}.jpg" for index in range(4, 9)}
    assert known(space, tmp_path).size() == 5 * size


def test_an_image_that_is_written_anew_is_new_and_counts_once(tmp_path: Path) -> None:
    for index in range(3):
        image(tmp_path, f"00000{index}.jpg", 3000, index)
    space = space_of(8000)
    with Images(tmp_path, (), space=space) as images:
        known(space, tmp_path)
        images.write(blank(0), NOTHING)
    new = (tmp_path / "000000.jpg").stat().st_size
    assert known(space, tmp_path).size() == 6000 + new
    image(tmp_path, "000003.jpg", 3000, 3)  # not noted, as by another program
    space = space_of(new + 3000)
    known(space, tmp_path)
    space.check(tmp_path)
    assert names(tmp_path) == {"000003.jpg", "000000.jpg"}


def test_only_marked_images_are_removed(tmp_path: Path) -> None:
    others = {"000001.jpg": as_jpeg(PICTURE, 90, ""), "000002-x.jpg": b"", "cat.jpg": marked(as_jpeg(PICTURE, 90, ""))}
    for name, data in others.items():
        (tmp_path / name).write_bytes(data)
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "000003.jpg").symlink_to(tmp_path / "cat.jpg")
    (tmp_path / "000004.jpg").mkdir()
    os.mkfifo(tmp_path / "000005.jpg")
    before = names(tmp_path)
    own = [image(tmp_path, name, 2000, 5) for name in ("000006.jpg", "000007-a b.jpg", "1234567.jpg")]
    space = space_of(0)
    assert known(space, tmp_path).size() == 6000
    space.check(tmp_path)
    assert names(tmp_path) == before
    assert space.removed == len(own)


def test_an_image_that_others_replaced_is_theirs(tmp_path: Path) -> None:
    names_here = [image(tmp_path, f"00000{index}.jpg", 2000, index) for index in range(3)]
    space = space_of(2000)
    gallery = known(space, tmp_path)
    first, *_ = gallery.oldest_first()
    (tmp_path / names_here[0]).write_bytes(as_jpeg(PICTURE, 90, ""))
    (tmp_path / names_here[1]).unlink()
    space.check(tmp_path)
    assert names(tmp_path) == {names_here[0], names_here[2]}
    assert gallery.size() == 2000
    assert not gallery.remove(first)  # written since it was seen
    assert (tmp_path / names_here[0]).exists()
    assert space.removed == 0


def test_images_that_others_removed_are_noticed(tmp_path: Path) -> None:
    now = [0.0]
    kept, taken = image(tmp_path, "000001.jpg", 2000, 1), image(tmp_path, "000002.jpg", 2000, 2)
    gallery = Gallery(tmp_path, lambda: now[0])
    assert gallery.listed.wait(10)
    (tmp_path / taken).unlink()
    assert gallery.size() == 4000
    now[0] = 600.0
    assert gallery.size() == 2000
    assert [one.paths for one in gallery.oldest_first()] == [(tmp_path / kept,)]


def test_a_folder_is_read_once_however_often_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Path] = []

    def noted(function: Callable[[Path], object]) -> Callable[[Path], object]:
        def call(path: Path) -> object:
            listed.append(path)
            return function(path)

        return call

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(gallery_module, name, noted(getattr(os, name)))
    space = space_of(3000)
    for _ in range(3):  # as after errors
        with Images(tmp_path / "." / "out", (), space=space) as images:
            known(space, tmp_path / "out")
            for index in range(10):
                images.write(blank(index), NOTHING)
    assert listed == [tmp_path / "out"]


def test_an_empty_folder(tmp_path: Path) -> None:
    space = space_of(0)
    assert known(space, tmp_path / "none").size() == 0
    assert list(known(space, tmp_path).oldest_first()) == []
    space.check(tmp_path)
    assert space.removed == 0


def test_the_floor_removes_images_too(tmp_path: Path) -> None:
    image(tmp_path, "000001.jpg", 2000, 1)
    usage = lambda path: (10**11, 0, 9_000 if names(tmp_path) else 11_000)  # noqa: E731
    space = Space(floor=10_000, usage=usage, clock=count(0.0, 10.0).__next__)
    known(space, tmp_path)
    space.check(tmp_path)
    assert names(tmp_path) == set()


def test_without_limits_images_are_neither_read_nor_noted(tmp_path: Path) -> None:
    assert space_of(None).gallery(tmp_path) is None


def test_an_image_that_cannot_be_written_is_not_noted(tmp_path: Path) -> None:
    space = space_of(10**9)
    (tmp_path / "000001.jpg").mkdir()
    with Images(tmp_path, (), space=space) as images, pytest.raises(SinkError, match=r"000001\.jpg: Is a directory"):
        images.write(blank(1), NOTHING)
    assert known(space, tmp_path).size() == 0


def test_a_mark_changes_no_pixel_and_leaves_the_first_segment_first(tmp_path: Path) -> None:
    plain = as_jpeg(PICTURE, 90, "")
    for jpeg in (plain, plain[:2] + plain[20:]):  # with and without JFIF's segment
        with_mark = marked(jpeg)
        before, after = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in (jpeg, with_mark))
        np.testing.assert_array_equal(before, after)
        assert with_mark.replace(b"\xff\xfe\x00\x17annotated by ssd-edge", b"") == jpeg
        assert (b"JFIF" in with_mark[:20]) == (b"JFIF" in jpeg)
