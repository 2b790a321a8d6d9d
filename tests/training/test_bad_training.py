"""Users' mistakes and failures while training: one sentence, and what was done before is kept."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ssd_edge import files
from ssd_edge.cli import main
from ssd_edge.data.dataset import Dataset, Target
from ssd_edge.errors import DataError, ModelError
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.training.checkpoints import (
    class_tensors,
    describe_taken,
    load_checkpoint,
    load_matching,
    read_torch_file,
    save_checkpoint,
)
from ssd_edge.training.experiment import read_experiment
from ssd_edge.training.module import DetectorModule
from ssd_edge.training.run import TrainingRun
from ssd_edge.training.train import train
from tests.training import tiny
from tests.training.conftest import draw_dataset, write_yolo
from tests.training.test_train import assert_equal_weights

RECIPE = replace(tiny.RECIPE, epochs=4)

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.mark.slow
@pytest.mark.parametrize("labels", [("bolt", "gear"), ("nut", "bolt")])
def test_heads_of_other_classes_are_begun_anew(pictures, tmp_path, labels):
    """Two classes each, so that every shape matches; with the same classes in the same order, all is taken."""
    source = make_network(make_spec("tiny", labels))
    save_checkpoint(tmp_path / "source.pt", source, source.spec)
    notes: list[str] = []
    started = TrainingRun(*pictures, tmp_path / "run", replace(RECIPE, epochs=1), show_bar=False, note=notes.append)
    trained = train(started, start_from=tmp_path / "source.pt")
    heads = tuple(f"class_heads.{k}.{kind}" for k in (0, 1) for kind in ("bias", "weight"))
    assert trained.tensors_left_out == heads
    said = f"left out because their classes differ: {', '.join(heads)} (trained from scratch)"
    assert any(note.endswith(said) for note in notes)
    same = make_network(make_spec("tiny", pictures[0].labels))
    save_checkpoint(tmp_path / "source.pt", same, same.spec)
    assert train(started, start_from=tmp_path / "source.pt").tensors_left_out == ()


def test_which_tensors_predict_classes():
    """Of SSDLite's heads the pointwise convolution alone; its depthwise one tells nothing of classes, and is taken."""
    old, new = (make_network(make_spec("ssdlite300_mobilenet_v2", [name])) for name in ("bolt", "nut"))
    heads = {f"class_heads.{k}.1.{kind}" for k in range(6) for kind in ("bias", "weight")}
    assert class_tensors(new) == heads
    before = new.class_heads[0][1].weight.clone()
    left_out = load_matching(new, old.state_dict(), old.spec.labels)
    assert set(left_out) == heads
    assert torch.equal(new.class_heads[0][1].weight, before)
    assert torch.equal(new.class_heads[0][0][0].weight, old.class_heads[0][0][0].weight)
    assert "their classes differ" in describe_taken(Path("old.pt"), new, old.state_dict(), left_out)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["last.ckpt", "model.pt", "curves.csv"])
def test_a_full_disk_leaves_the_last_good_files(pictures, tmp_path, monkeypatch, file):
    """The disk is full from the third epoch on, for one file; the others and the older one can be read, and go on."""
    training, validation = pictures
    empty = replace(validation, samples=[replace(one, target=Target.of([], [])) for one in validation])
    started = TrainingRun(training, empty, tmp_path / "run", RECIPE, show_bar=False)  # AP undefined: all are the best
    train(replace(started, folder=tmp_path / "whole"))
    usual, full = files.sync, [False]

    def sync(path: Path) -> None:
        if full[0] and path.name.startswith(f".{file}."):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        usual(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync", sync)
        patch.setattr(
            DetectorModule,
            "on_validation_epoch_start",  # before the files of the epoch are written
            lambda module: full.append(full.pop() or module.current_epoch >= 2),
        )
        with pytest.raises(ModelError, match=rf"cannot write .*{file}: No space left on device; an earlier one is"):
            train(started)
    content = read_torch_file(tmp_path / "run" / "last.ckpt")
    assert content["epoch"] in (1, 2)
    assert load_checkpoint(tmp_path / "run" / "model.pt").spec.labels == ("bolt", "nut")
    assert "No space left on device" in read_experiment(tmp_path / "run").facts["state"]
    assert not list((tmp_path / "run").glob("*.part"))
    train(replace(started, resume=True))
    assert_equal_weights(tmp_path / "whole" / "last.ckpt", tmp_path / "run" / "last.ckpt")


def test_three_images_in_all(tmp_path):
    """Two to learn from and one to validate on; of two, none is left to validate on."""
    three = draw_dataset(tmp_path / "data", 4)
    three = replace(three, samples=three.samples[:3])
    recipe = replace(RECIPE, epochs=2, batch_size=16)
    trained = train(TrainingRun(three, None, tmp_path / "run", recipe, show_bar=False))
    assert (trained.training["images"], trained.validation["images"]) == (2, 1)
    assert trained.checkpoint.is_file()
    two = replace(three, samples=three.samples[:2])
    with pytest.raises(DataError, match=r"2 usable images in .* to train and validate with, but it takes 3 or more"):
        train(TrainingRun(two, None, tmp_path / "two", recipe, show_bar=False))


def test_a_class_without_a_single_box(pictures, tmp_path):
    """It is learnt as a class all the same, and it is said that it will not be found."""
    labels = ("bolt", "nut", "gear", "washer")
    both = tuple(replace(data, labels=labels) for data in pictures)
    notes: list[str] = []
    trained = train(TrainingRun(*both, tmp_path / "run", replace(RECIPE, epochs=1), show_bar=False, note=notes.append))
    assert "no object to learn from of gear, washer: the model will not find any" in notes
    assert load_checkpoint(trained.checkpoint).spec.labels == labels
    assert trained.ap50 is not None
    notes.clear()
    train(TrainingRun(*pictures, tmp_path / "run", replace(RECIPE, epochs=1), show_bar=False, note=notes.append))
    assert not any("will not find" in note for note in notes)


@pytest.fixture
def data(tmp_path) -> Path:
    return write_yolo(draw_dataset(tmp_path / "pictures", 8), tmp_path / "data")


def refused(capsys, monkeypatch, *arguments: object) -> str:
    """The sentence with which ``ssd-edge train`` ends; checks exit code 2 and an empty stdout."""
    monkeypatch.setattr("sys.argv", ["ssd-edge", "train", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main.main()
    printed = capsys.readouterr()
    assert end.value.code == 2
    assert printed.out == ""
    assert "Traceback" not in printed.err
    return str(printed.err)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--recipe", "ssd300_voc", "--model", "ssdlite300_mobilenet_v2"), "has default-box sizes mobilenet, but not"),
        (("--recipe", "ssd300_vok"), "there is no recipe ssd300_vok: name a file, or one of ssd300_voc, "),
        (("--recipe", "ssd300_voc", "--epochs", "50"), "milestones must come before the end, 50 epochs, but got"),
        (("--set", "optimiser.momentun=0.5"), "did you mean optimiser.momentum?"),
        (("--set", "momentum"), "must be written NAME=VALUE"),
        (("--schedule", "step"), "milestones must be given with step alone"),
        (("--schedule", "linear"), "kind must be one of cosine, step, but got 'linear'"),
        (("--ema", "1"), "ema must lie in 0 … 1, without 1, but got 1.0"),
        (("--classes", "bolt,nutt"), "has no class 'nutt'; did you mean nut?"),
        (("--classes", "bolt,gear"), "has no class 'gear'; it names bolt, nut"),
        (("--classes", "bolt,bolt"), "classes must differ from each other"),
        (("--workers", "-1"), "--workers"),
        (("--lr", "0"), "lr must be above 0"),
        (("--frozen-backbone", "--frozen-blocks", "2"), "frozen_blocks must be 0 with frozen_backbone"),
    ],
)
def test_a_recipe_that_cannot_be_trained(data, tmp_path, capsys, monkeypatch, options, sentence):
    said = refused(capsys, monkeypatch, data, "-o", tmp_path / "run", *options)
    assert sentence in said
    assert not (tmp_path / "run").exists()


def test_a_recipe_of_another_model_than_the_checkpoint(data, tmp_path, capsys, monkeypatch, checkpoint):
    said = refused(capsys, monkeypatch, data, "-o", tmp_path / "run", "--from", checkpoint, "--recipe", "ssd300_voc")
    assert "is a ssdlite300_mobilenet_v2, and ssd300_vgg16 is to be trained" in said


def test_zero_workers_and_a_subset_of_the_classes(data, tmp_path, capsys, monkeypatch):
    """Boxes of the other class are left out, and it is said; the images stay."""
    output = tmp_path / "run"
    options = ("--model", "tiny", "--epochs", "1", "--workers", "0", "--classes", "nut", "--json")
    monkeypatch.setattr("sys.argv", ["ssd-edge", "train", str(data), "-o", str(output), *options])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert not end.value.code
    said = capsys.readouterr().err
    assert "left out 7 boxes of 8 images, of a class that is not in the class list: bolt (7)" in said
    assert load_checkpoint(output / "model.pt").spec.labels == ("nut",)
    one = read_experiment(output)
    assert one.recipe["classes"] == ["nut"]
    assert one.facts["training"]["images"] + one.facts["validation"]["images"] == 8


def test_a_recipe_whose_classes_are_not_the_data_sets(pictures: tuple[Dataset, Dataset], tmp_path):
    with pytest.raises(DataError, match="the recipe is for the classes nut, but the data set is read with bolt, nut"):
        TrainingRun(*pictures, tmp_path / "run", replace(RECIPE, classes=("nut",)))
