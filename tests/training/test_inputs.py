"""Training with an input of another shape, and with default boxes fitted to the data set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ssd_edge import boxes
from ssd_edge.data.dataset import Target
from ssd_edge.data.decoded import DecodedImages
from ssd_edge.errors import ModelError
from ssd_edge.models.registry import make_spec
from ssd_edge.training.checkpoints import load_checkpoint
from ssd_edge.training.loading import TrainingSamples, ValidationSamples
from ssd_edge.training.matching import training_target
from ssd_edge.training.recipe import Recipe
from ssd_edge.training.run import TrainingRun
from ssd_edge.training.train import train

pytestmark = pytest.mark.usefixtures("tiny")

WIDE = Recipe("tiny", input="64x32", epochs=1, batch_size=4, workers=0, validate_every=1, precision="32-true")


def run(pictures, folder, recipe, notes=None, **options):
    note = (lambda sentence: None) if notes is None else notes.append
    return train(TrainingRun(*pictures, folder, recipe, show_bar=False, note=note, **options))


def test_the_checkpoint_has_the_input_and_its_boxes(pictures, tmp_path):
    spec = load_checkpoint(run(pictures, tmp_path / "run", WIDE).checkpoint).spec
    assert spec.input_size == (32, 64)
    assert [level.grid for level in spec.levels] == [(4, 8), (2, 4)]
    assert [level.step for level in spec.levels] == [(1 / 4, 1 / 8), (1 / 2, 1 / 4)]
    assert spec.levels[0].sizes == ((0.1, 0.2), (0.15, 0.15), (0.075, 0.3))
    assert "'input': '64x32'" in spec.provenance["recipe"]
    with pytest.raises(ModelError, match="was trained with other input_size 64x32, and not 32x32: resume with"):
        run(pictures, tmp_path / "run", replace(WIDE, input=""), resume=True)


def test_samples_have_its_shape_and_targets_their_place(pictures):
    """An object that is a default box, in pixels of a picture of another aspect, is that box's target."""
    spec = make_spec("tiny", pictures[0].labels, input_size=(32, 64))
    image, loc, classes, _ = TrainingSamples(DecodedImages(pictures[0].samples), spec, seed=0)[0, 0]
    assert (image.shape, loc.shape, classes.shape) == ((3, 32, 64), (112, 4), (112,))
    image, _, size = ValidationSamples(DecodedImages(pictures[0].samples), spec)[0]
    assert (image.shape, size) == ((3, 32, 64), (36, 40))
    defaults = boxes.default_boxes(spec)
    number = (1 * 8 + 6) * 3 + 1  # row 1, column 6, the second size
    np.testing.assert_allclose(defaults[number], [6.5 / 8, 1.5 / 4, 0.15, 0.15], atol=1e-6)
    pixels = boxes.to_xyxy(defaults[number]) * np.float32([40, 36, 40, 36])
    for frame, is_right in (((36, 40), True), ((40, 36), False)):
        loc, classes = training_target(Target.of([pixels], [1]), frame, defaults, spec.variances)
        assert (classes[number] == 2 and np.abs(loc[number]).max() < 1e-4) == is_right


def test_fitted_boxes_are_stored_and_said(pictures, tmp_path):
    """Squares of 12 pixels and boxes of 16 × 8 in pictures of 40 × 36."""
    notes: list[str] = []
    fit = replace(WIDE, input="", box_sizes="fit")
    spec = load_checkpoint(run(pictures, tmp_path / "run", fit, notes).checkpoint).spec
    usual = make_spec("tiny", spec.labels)
    assert spec.levels != usual.levels
    assert [len(level.sizes) for level in spec.levels] == [len(level.sizes) for level in usual.levels]
    (sentence,) = [note for note in notes if note.startswith("default boxes are fitted")]
    assert "of 14 objects, " in sentence
    assert sentence.endswith("% with the published sizes")
    assert (tmp_path / "run" / "boxes.png").is_file()
    again = load_checkpoint(run(pictures, tmp_path / "again", fit).checkpoint).spec
    assert again.levels == spec.levels
    resumed = run(pictures, tmp_path / "run", replace(fit, epochs=2), resume=True)
    assert resumed.epochs == 2


def test_a_parents_input_and_boxes_stay_where_none_are_named(pictures, tmp_path):
    """Its heads were trained for them."""
    fit = replace(WIDE, box_sizes="fit")
    parent = run(pictures, tmp_path / "parent", fit).checkpoint
    before, plain = load_checkpoint(parent).spec, make_spec("tiny", ("bolt", "nut"), input_size=(32, 64))
    assert before.levels != plain.levels

    def child(**changes):
        recipe = replace(WIDE, **changes)
        folder = tmp_path / "-".join(changes.values())
        trained = train(TrainingRun(*pictures, folder, recipe, show_bar=False), start_from=parent)
        return load_checkpoint(trained.checkpoint).spec

    kept = child(input="")
    assert (kept.input_size, kept.levels) == (before.input_size, before.levels)
    assert child(input="", box_sizes="only").levels == plain.levels
    turned = child(input="32x64")
    assert turned.input_size == (64, 32)
    for old, new in zip(before.levels, turned.levels, strict=True):
        assert new.grid == old.grid[::-1]
        np.testing.assert_allclose(np.asarray(new.sizes) * [32, 64], np.asarray(old.sizes) * [64, 32], rtol=1e-9)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"input": "64"}, "a size is WIDTHxHEIGHT in pixels, such as 512x288, but got '64'"),
        ({"input": "60x32"}, "tiny takes an input of 32x32, or one .* but got 60x32: the nearest are 64x32, 32x32"),
        ({"box_sizes": "small"}, "has default-box sizes only, but not 'small': choose one of these, or fit"),
    ],
)
def test_refused_before_an_image_is_read(pictures, tmp_path, changes, sentence, monkeypatch):
    monkeypatch.setattr("ssd_edge.training.fit.check_parts", lambda *_, **__: pytest.fail("images were read"))
    with pytest.raises(ModelError, match=sentence):
        run(pictures, tmp_path / "run", replace(WIDE, **changes))
    assert not (tmp_path / "run").exists()
