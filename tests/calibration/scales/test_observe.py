"""Observation: one pass over the images."""

from __future__ import annotations

import numpy as np
import pytest

from ssd_edge.calibration.scales.histograms import Histogram
from ssd_edge.calibration.scales.observe import Observations, observe
from ssd_edge.errors import CalibrationError
from ssd_edge.graph.fp32 import with_outputs
from tests.calibration.nets import images, tiny_net


def test_observing_counts_inputs_and_inner_tensors_image_by_image():
    model, pictures, done = tiny_net(), images(3), []
    seen = Observations.of(["image", "b"])
    observe(with_outputs(model, ["image", "b"]), seen, iter(pictures), lambda seen: done.append(seen.num_images))
    alone = Histogram()
    for picture in pictures:
        alone.add(picture)
    assert np.array_equal(seen.histograms["image"].counts, alone.counts)
    assert seen.histograms["b"].counts.sum() + seen.histograms["b"].zeros == 3 * 8 * 8 * 8
    assert seen.histograms["b"].zeros > 0
    assert done == [1, 2, 3]
    assert len(set(seen.image_hashes)) == 3


def test_observing_can_be_resumed():
    model, pictures = with_outputs(tiny_net(), ["b"]), images(5)
    whole, parts = Observations.of(["b"]), Observations.of(["b"])
    observe(model, whole, pictures)
    observe(model, parts, pictures[:2])
    observe(model, parts, pictures)
    assert np.array_equal(parts.histograms["b"].counts, whole.histograms["b"].counts)
    assert parts.image_hashes == whole.image_hashes


def test_the_image_set_hash_ignores_order_but_not_content():
    assert Observations({}, ["a", "b"]).image_set_sha256 == Observations({}, ["b", "a"]).image_set_sha256
    assert Observations({}, ["a", "b"]).image_set_sha256 != Observations({}, ["a", "c"]).image_set_sha256


@pytest.mark.parametrize(("shape", "dtype"), [((1, 3, 9, 8), "f4"), ((1, 3, 8, 8), "f8"), ((2, 3, 8, 8), "f4")])
def test_an_image_of_another_shape_or_type_is_refused(shape, dtype):
    with pytest.raises(CalibrationError, match=r"must be .* float32"):
        observe(tiny_net().SerializeToString(), Observations.of(["image"]), [np.zeros(shape, dtype)])


def test_an_empty_set_of_images_is_refused():
    with pytest.raises(CalibrationError, match="needs images"):
        observe(tiny_net().SerializeToString(), Observations.of(["image"]), [])
