"""Decoded images that are kept between epochs."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssd_edge.data.dataset import Sample, Target, read_image
from ssd_edge.data.decoded import FILE, MEMORY, NOWHERE, DecodedImages, room_for
from ssd_edge.errors import DataError
from ssd_edge.machine.host import Space
from tests.machine.machines import machine

NONE = Target.of([], [])


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    rng = np.random.default_rng(0)
    made = []
    for k, (width, height) in enumerate([(40, 30), (7, 5), (1, 1), (64, 64)]):
        path = tmp_path / f"{k}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (height, width, 3), np.uint8))
        made.append(Sample(path, NONE, (width, height)))
    return made


@pytest.mark.parametrize("place", [MEMORY, FILE, NOWHERE])
def test_images_are_those_of_the_files(samples: list[Sample], place: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    images = DecodedImages(samples, place, tmp_path)
    for _ in range(2):
        for index in (3, 0, 2, 1):
            assert np.array_equal(images[index], read_image(samples[index].image))
    assert sorted(tmp_path.iterdir()) == before  # a file has no name
    assert len(images) == 4


@pytest.mark.parametrize("place", [MEMORY, FILE])
def test_a_kept_image_is_not_read_again_and_cannot_be_changed(
    samples: list[Sample], place: str, tmp_path: Path
) -> None:
    images = DecodedImages(samples, place, tmp_path)
    first = images[0].copy()
    samples[0].image.unlink()
    assert np.array_equal(images[0], first)
    with pytest.raises(ValueError, match="read-only"):
        images[0][:] = 0
    samples[1].image.unlink()
    with pytest.raises(DataError):
        images[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.parametrize("place", [MEMORY, FILE])
def test_forked_processes_share_what_one_decodes(samples: list[Sample], place: str, tmp_path: Path) -> None:
    images = DecodedImages(samples, place, tmp_path)
    expected = read_image(samples[0].image)
    child = os.fork()
    if child == 0:
        images[0]
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    samples[0].image.unlink()
    assert np.array_equal(images[0], expected)


def test_a_process_that_is_started_anew_decodes_each_time(samples: list[Sample]) -> None:
    images = pickle.loads(pickle.dumps(DecodedImages(samples, MEMORY)))  # noqa: S301 - our own
    assert np.array_equal(images[0], read_image(samples[0].image))


def test_a_picture_that_has_changed_since_it_was_checked(samples: list[Sample]) -> None:
    images = DecodedImages(samples, MEMORY)
    cv2.imwrite(str(samples[0].image), np.zeros((9, 9, 3), np.uint8))
    assert images[0].shape == (9, 9, 3)


def test_no_image_and_images_of_unknown_size(samples: list[Sample]) -> None:
    assert len(DecodedImages([], MEMORY)) == 0
    unknown = DecodedImages([replace(samples[0], declared=None)], MEMORY)
    assert np.array_equal(unknown[0], read_image(samples[0].image))


@pytest.mark.parametrize(
    ("memory", "disk", "among", "place"),
    [(4, 0, 1, MEMORY), (1, 4, 1, FILE), (4, 4, 2, NOWHERE), (4, 8, 2, FILE), (1, 1, 1, NOWHERE), (4, 4, 3, NOWHERE)],
)
def test_where_there_is_room(memory: int, disk: int, among: int, place: str, tmp_path: Path) -> None:
    """Memory and disk have so many times the half of what the images need."""
    samples = [Sample(Path(f"{k}.png"), NONE, (1024, 1024)) for k in range(1)]
    needed = 3 << 20
    host = machine(tmp_path, {"/proc/meminfo": f"MemAvailable: {memory * needed // 2048} kB\n"})
    host = replace(host, space=lambda _: Space(1 << 40, disk * needed // 2, True))
    room = room_for(samples, tmp_path, among, host)
    assert (room.place, room.needed) == (place, needed)
    assert "3.0 MiB" in room.sentence()


def test_a_disk_that_does_not_answer(tmp_path: Path) -> None:
    def fails(_: Path) -> Space:
        raise OSError

    host = replace(machine(tmp_path), space=fails)
    assert room_for([Sample(Path("x.png"), NONE, (9, 9))], tmp_path, 1, host).place == NOWHERE
