"""Choosing the calibration images."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from ssd_edge.calibration.choice import LEAST_IMAGES, choose_images
from ssd_edge.errors import CalibrationError, DataError, SourceError


def numbered(folder, count=40):
    """Folder of pictures, each with its number as its grey level."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        cv2.imwrite(str(folder / f"{k:03}.png"), np.full((16, 24, 3), k, np.uint8))
    return folder


def numbers(chosen):
    return [int(image[0, 0, 0]) for _, image in chosen.read(pytest.fail)]


@pytest.fixture
def pictures(tmp_path):
    return numbered(tmp_path / "pictures")


@pytest.fixture
def labelled(tmp_path):
    """YOLO data set of 40 pictures: all show bolts, one shows a nut, none a washer."""
    root = tmp_path / "set"
    numbered(root / "images")
    (root / "labels").mkdir()
    for k in range(40):
        (root / "labels" / f"{k:03}.txt").write_text(f"{int(k == 7)} 0.5 0.5 0.4 0.4\n")
    (root / "data.yaml").write_text("names: [bolt, nut, washer]\n")
    return root


@pytest.fixture
def video(tmp_path):
    """Video of 200 frames, each brighter than the one before."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 25, (24, 16))
    for k in range(200):
        writer.write(np.full((16, 24, 3), k, np.uint8))
    writer.release()
    return path


def test_the_same_seed_chooses_the_same(pictures):
    first, again, other = (choose_images(pictures, 33, seed=seed) for seed in (1, 1, 2))
    assert numbers(first) == numbers(again) != numbers(other)
    assert first.key == again.key != other.key
    assert first.number == len(set(numbers(first))) == 33
    assert numbers(first) == sorted(numbers(first))


def test_the_key_changes_with_a_file(pictures):
    before = choose_images(pictures, 40)
    os.utime(pictures / "003.png", ns=(1, 1))
    assert choose_images(pictures, 40).key != before.key


def test_one_frame_is_chosen_from_each_stretch_of_a_video(video):
    chosen = choose_images(video, 50, seed=3)
    frames = np.asarray(numbers(chosen))
    assert chosen.number == len(frames) == 50
    assert (frames // 4 == np.arange(50)).all()
    assert chosen.missing == ()
    assert chosen.key == choose_images(video, 50, seed=3).key != choose_images(video, 50, seed=4).key


def test_all_frames_of_a_short_video_are_chosen(video):
    assert numbers(choose_images(video, 500)) == list(range(200))


@pytest.mark.parametrize(
    ("labels", "missing"),
    [((), ()), (("bolt",), ()), (("bolt", "washer"), ("washer",)), (("nut", "cat"), ("cat",))],
)
def test_classes_that_are_missing(labelled, labels, missing):
    assert choose_images(labelled, 40, labels=labels).missing == missing


def test_a_class_is_missing_if_its_picture_is_not_chosen(labelled):
    """32 of 40 pictures are chosen: some seeds include the one with the nut, others do not."""
    missing = {choose_images(labelled, 32, seed=seed, labels=("bolt", "nut")).missing for seed in range(30)}
    assert missing == {(), ("nut",)}


def test_a_plain_folder_reports_no_missing_classes(pictures):
    assert choose_images(pictures, 40, labels=("bolt",)).missing == ()


def test_too_few_images_are_refused(pictures, tmp_path):
    numbered(tmp_path / "few", 5)
    assert LEAST_IMAGES == 32
    with pytest.raises(CalibrationError, match=r"at least 32 images, but .*few gives 5: .* or --force"):
        choose_images(tmp_path / "few", 100)
    with pytest.raises(CalibrationError, match="gives 31"):
        choose_images(pictures, 31)
    assert choose_images(tmp_path / "few", 100, least=1).number == 5
    assert choose_images(tmp_path / "few" / "000.png", 100, least=1).number == 1


def test_an_unreadable_image_is_skipped_and_reported(pictures):
    (pictures / "004.png").write_bytes(b"no picture")
    said = []
    assert len(list(choose_images(pictures, 40).read(said.append))) == 39
    (sentence,) = said
    assert "004.png" in sentence


def test_a_missing_source_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no file or folder"):
        choose_images(tmp_path / "absent", 40)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no data set found"):
        choose_images(tmp_path / "empty", 40)
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    with pytest.raises(SourceError, match="as a video"):
        choose_images(tmp_path / "clip.mp4", 40)
