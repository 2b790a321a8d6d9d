"""The plate of samples: boxes are drawn where the objects are, and bad targets are refused before the data is read."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssd_edge.data.augment.catalogue import AUGMENTATIONS
from ssd_edge.data.dataset import Dataset, Sample, Target
from ssd_edge.errors import DataError
from ssd_edge.outputs.draw import PALETTE
from ssd_edge.preview import ROWS, SIDE, VARIANTS, Plate, annotate_objects
from tests.helpers import small_spec

LABELS = ("bolt", "nut")


def dataset(folder, number, objects=True):
    """Grey images of 200 × 100 with a nut in the right half."""
    samples = []
    for k in range(number):
        path = folder / f"{k}.png"
        cv2.imwrite(str(path), np.full((100, 200, 3), 99, np.uint8))
        samples.append(Sample(path, Target.of([[110, 20, 190, 90]], [1]) if objects else Target.of([], [])))
    return Dataset(folder, "voc", "train", LABELS, samples)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_a_plate(tmp_path, augmentation):
    target = tmp_path / "new" / "plate.png"
    plate = Plate(target, augmentation, small_spec(labels=LABELS))
    plate.write(dataset(tmp_path, 9))
    picture = cv2.imread(str(target))
    assert picture.shape[1] == (VARIANTS + 1) * (SIDE + 8) + 8
    assert picture.shape[0] >= ROWS * SIDE / 2
    # The first is as labelled, 1.6 times as large: the left edge is at 8 + 110 · 1.6, in the colour of class 1,
    # which antialiasing mixes with the grey around.
    row = picture[22 + 90].astype(int)
    assert np.abs(row[8 + 176] - PALETTE[1]).max() < np.abs(row[8 + 176] - 99).max()
    assert row[8 + 170].tolist() == [99, 99, 99]
    # Variants of some sample show the object too, with a tag in its colour.
    assert (picture[:, SIDE + 16 :] == PALETTE[1]).all(axis=2).sum() > 1000
    before = target.read_bytes()
    plate.write(dataset(tmp_path, 9))
    assert target.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == ["plate.png"]


def test_fewer_images_than_rows(tmp_path):
    Plate(tmp_path / "p.png", "mild", small_spec()).write(dataset(tmp_path, 1))
    assert cv2.imread(str(tmp_path / "p.png")).shape[0] <= 22 + SIDE + 8


def test_refusals(tmp_path):
    with pytest.raises(DataError, match=r"a name that ends with \.png, not .*plate\.bmp"):
        Plate(tmp_path / "plate.bmp", "mild", small_spec())
    with pytest.raises(DataError, match="no augmentation is called 'strong'"):
        Plate(tmp_path / "plate.png", "strong", small_spec())
    with pytest.raises(DataError, match=r"no usable image of .* has an object to show"):
        Plate(tmp_path / "plate.png", "mild", small_spec()).write(dataset(tmp_path, 2, objects=False))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*plate\.png: "):
        Plate(tmp_path / "file" / "plate.png", "mild", small_spec()).write(dataset(tmp_path, 1))


def test_flags_are_written_behind_the_name():
    """A longer caption has a longer tag."""
    image = np.full((240, 320, 3), 90, np.uint8)
    plain, marked = (
        annotate_objects(image, Target.of([[40, 60, 90, 120]], [0], [flag], [flag]), LABELS, "")
        for flag in (False, True)
    )
    assert (image == 90).all()
    widths = [int((one == PALETTE[0]).all(axis=2)[54].sum()) for one in (plain, marked)]
    assert widths[1] > widths[0] + 10 > 10
