"""Training end to end, on pictures of coloured rectangles and a network of a few thousand weights."""

from __future__ import annotations

import json
import math
import signal
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssd_edge.cli.main import app
from ssd_edge.data.dataset import Dataset, Sample, Target
from ssd_edge.data.decoded import DecodedImages
from ssd_edge.data.held_out import digest_of, held_out_of
from ssd_edge.data.roles import NO_SPLIT
from ssd_edge.errors import DataError, ModelError
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.training.checkpoints import load_checkpoint, read_torch_file, save_checkpoint
from ssd_edge.training.heads import TorchHeads
from ssd_edge.training.loading import Shuffled, TrainingSamples
from ssd_edge.training.module import DetectorModule
from ssd_edge.training.recipe import Optimiser, Recipe
from ssd_edge.training.run import TrainingRun
from ssd_edge.training.train import train
from tests.training.conftest import draw_dataset, write_yolo
from tests.training.tiny import RECIPE

pytestmark = pytest.mark.usefixtures("tiny")


def run(pictures: tuple[Dataset, Dataset], folder: Path, recipe: Recipe = RECIPE, resume: bool = False, **first: Path):
    """Train without a bar, from ``backbone_weights`` or ``start_from`` where given."""
    return train(TrainingRun(*pictures, folder, recipe, resume=resume, show_bar=False), **first)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).state_dict()


def assert_equal_weights(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, epoch: int, act: Any) -> None:
    """Call ``act`` at the start of an epoch."""
    usual = DetectorModule.on_train_epoch_start

    def start(module: DetectorModule) -> None:
        if module.current_epoch == epoch:
            act()
        usual(module)

    monkeypatch.setattr(DetectorModule, "on_train_epoch_start", start)


def test_what_it_leaves_behind(pictures, tmp_path):
    out = tmp_path / "run"
    trained = run(pictures, out)
    assert trained.checkpoint == out / "model.pt"
    assert trained.epochs == 2
    assert 0 <= trained.ap50 <= 1
    assert trained.seconds > 0
    assert trained.summary == "nothing wrong in 8 images with 14 boxes"
    assert sorted(p.name for p in out.iterdir()) == [
        "boxes.png",
        "curves.csv",
        "curves.png",
        "last.ckpt",
        "logs",
        "model.pt",
        "recipe.yaml",
        "run.json",
    ]
    network = load_checkpoint(out / "model.pt")
    facts = network.spec.provenance
    assert facts["dataset"] == "train"
    assert facts["dataset_sha256"] == pictures[0].fingerprint()
    assert facts["validation_ap50"] == f"{trained.ap50:.4f}"
    assert "'seed': 0" in facts["recipe"]
    assert load_checkpoint(out / "last.ckpt").spec.labels == ("bolt", "nut")
    (logs,) = (out / "logs").glob("*/events.out.tfevents.*")
    curves = EventAccumulator(str(logs.parent))
    curves.Reload()
    assert {"val/ap50", "val/ap"} <= set(curves.Tags()["scalars"])
    assert len(curves.Scalars("val/ap50")) == 2


def test_freed_memory_is_kept_for_the_next_step_as_long_as_it_trains(pictures, tmp_path, monkeypatch):
    order = []

    @contextmanager
    def kept():
        order.append("kept")
        yield
        order.append("let go")

    monkeypatch.setattr("ssd_edge.training.fit.freed_memory_kept", kept)
    monkeypatch.setattr(DetectorModule, "on_train_epoch_start", lambda module: order.append("epoch"))
    run(pictures, tmp_path / "run")
    assert order == ["kept", "epoch", "epoch", "let go"]


@pytest.mark.slow
def test_it_learns(tmp_path):
    """AP50 for red squares and blue bars on grey in new pictures is high (five seeds gave 0.90 … 1.00)."""
    both = draw_dataset(tmp_path / "train", 24), draw_dataset(tmp_path / "val", 6, seed=1)
    trained = run(
        both,
        tmp_path / "run",
        replace(RECIPE, epochs=60, batch_size=8, validate_every=20, optimiser=Optimiser(lr=0.05)),
    )
    assert trained.ap50 > 0.75


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_does_not(pictures, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(pictures, tmp_path / name, replace(RECIPE, seed=seed))
    assert_equal_weights(tmp_path / "a" / "last.ckpt", tmp_path / "b" / "last.ckpt")
    first = "backbone.features.0.0.weight"
    assert not torch.equal(weights(tmp_path / "a" / "last.ckpt")[first], weights(tmp_path / "c" / "last.ckpt")[first])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_training_equals_one_that_was_never_interrupted(pictures, tmp_path, monkeypatch, workers):
    recipe = replace(RECIPE, epochs=4, validate_every=2, workers=workers)
    run(pictures, tmp_path / "whole", replace(recipe, workers=0))
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, lambda: (_ for _ in ()).throw(OSError("power cut")))
        with pytest.raises(OSError, match="power cut"):
            run(pictures, tmp_path / "parts", recipe)
    assert read_torch_file(tmp_path / "parts" / "last.ckpt")["epoch"] == 2
    trained = run(pictures, tmp_path / "parts", recipe, resume=True)
    assert trained.epochs == 4
    assert_equal_weights(tmp_path / "whole" / "last.ckpt", tmp_path / "parts" / "last.ckpt")
    assert_equal_weights(tmp_path / "whole" / "model.pt", tmp_path / "parts" / "model.pt")


def test_a_full_disk_leaves_the_last_epoch_to_resume_from(pictures, tmp_path, monkeypatch):
    """The limit on a file's size stands for the full disk: writing ends with EFBIG in place of ENOSPC."""
    resource = pytest.importorskip("resource")
    recipe = replace(RECIPE, epochs=4, validate_every=4)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard)))
        try:
            with pytest.raises(ModelError, match=r"cannot write .*last.ckpt: File too large; an earlier"):
                run(pictures, tmp_path / "run", recipe)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "run" / "model.pt").exists()
    assert read_torch_file(tmp_path / "run" / "last.ckpt")["epoch"] == 1  # counted from 0
    assert run(pictures, tmp_path / "run", recipe, resume=True).epochs == 4


def test_checkpoints_need_no_other_file_system(pictures, tmp_path, monkeypatch):
    """What is written to a temporary folder elsewhere has to be copied to its place, which is not done in one step."""

    def none(*arguments, **options):
        raise AssertionError("a temporary file was made elsewhere")

    monkeypatch.setattr(tempfile, "mkstemp", none)
    run(pictures, tmp_path / "run", replace(RECIPE, epochs=1))
    assert (tmp_path / "run" / "last.ckpt").is_file()


def test_ctrl_c_leaves_the_last_epoch_to_resume_from(pictures, tmp_path, monkeypatch):
    recipe = replace(RECIPE, epochs=3, validate_every=3)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2, lambda: signal.default_int_handler(signal.SIGINT, None))
        with pytest.raises(KeyboardInterrupt):
            run(pictures, tmp_path / "run", recipe)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert load_checkpoint(tmp_path / "run" / "last.ckpt").spec.architecture == "tiny"
    assert not (tmp_path / "run" / "model.pt").exists()
    assert run(pictures, tmp_path / "run", recipe, resume=True).checkpoint.exists()


def test_resuming_what_is_done_changes_nothing(pictures, tmp_path):
    first = run(pictures, tmp_path / "run")
    before = (tmp_path / "run" / "model.pt").read_bytes()
    again = run(pictures, tmp_path / "run", resume=True)
    assert again.epochs == 2
    assert again.ap50 == first.ap50
    assert (tmp_path / "run" / "model.pt").read_bytes() == before


def test_resuming_longer(pictures, tmp_path):
    run(pictures, tmp_path / "run")
    assert run(pictures, tmp_path / "run", replace(RECIPE, epochs=3), resume=True).epochs == 3


def test_the_keys_of_what_is_resumed_stay_as_they_are(pictures, tmp_path):
    """A last.ckpt of an earlier version can be resumed only while its keys are those that are read."""
    trained = run(pictures, tmp_path / "run")
    content = read_torch_file(tmp_path / "run" / "last.ckpt")
    kept = {"ap50": trained.ap50, "step": 4, "at_start": None, "interval": trained.ap50_interval}
    assert content["callbacks"]["_BestModel"] == kept
    assert content["ssd_edge_training"] == "training in float"
    assert "ssd_edge.spec" in content


def test_nothing_to_resume_from(pictures, tmp_path):
    with pytest.raises(ModelError, match=r"nothing to resume from .* start without --resume"):
        run(pictures, tmp_path / "run", resume=True)


def test_resuming_from_damage_or_from_something_else(pictures, tmp_path):
    out = tmp_path / "run"
    run(pictures, out)
    whole = (out / "last.ckpt").read_bytes()
    (out / "last.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be read safely as a checkpoint"):
        run(pictures, out, resume=True)
    (out / "last.ckpt").write_bytes((out / "model.pt").read_bytes())
    with pytest.raises(ModelError, match="is not a training that can be resumed"):
        run(pictures, out, resume=True)
    (out / "last.ckpt").write_bytes(whole)
    renamed = tuple(replace(data, labels=("bolt", "screw")) for data in pictures)
    with pytest.raises(ModelError, match="was trained with other labels"):
        run(renamed, out, resume=True)
    with pytest.raises(ModelError, match="was trained with other architecture"):
        run(pictures, out, replace(RECIPE, model="ssdlite300_mobilenet_v2"), resume=True)


def test_early_stop(pictures, tmp_path):
    """With a learning rate near 0, AP50 never improves: one validation, then two without a better one."""
    trained = run(pictures, tmp_path / "run", replace(RECIPE, epochs=20, patience=2, optimiser=Optimiser(lr=1e-12)))
    assert trained.epochs == 3


def test_early_stop_counts_validations_not_epochs(pictures, tmp_path):
    trained = run(
        pictures,
        tmp_path / "run",
        replace(RECIPE, epochs=20, patience=1, optimiser=Optimiser(lr=1e-12), validate_every=3),
    )
    assert trained.epochs == 6


def test_the_last_epoch_is_validated_too(pictures, tmp_path):
    seen: list[int] = []
    usual = DetectorModule.on_validation_epoch_end

    def end(module: DetectorModule) -> None:
        seen.append(module.global_step)
        usual(module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DetectorModule, "on_validation_epoch_end", end)
        run(pictures, tmp_path / "run", replace(RECIPE, epochs=3, validate_every=2))
    assert seen == [4, 6]  # two steps an epoch


@pytest.mark.slow
def test_time_that_is_up_before_the_first_validation(pictures, tmp_path):
    trained = run(pictures, tmp_path / "run", replace(RECIPE, epochs=100_000, validate_every=100_000, minutes=1 / 60))
    assert trained.epochs < 100_000
    assert trained.ap50 >= 0
    assert load_checkpoint(trained.checkpoint).spec.labels == ("bolt", "nut")


def test_bad_images_are_left_out_and_it_is_said(pictures, tmp_path):
    training, validation = pictures
    folder = tmp_path / "train"
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:100])
    (folder / "1.png").unlink()
    (tmp_path / "val" / "0.png").write_bytes(b"no image")
    nan = Target.of([[1, 1, math.nan, 9], [3, 3, 3, 9], [500, 500, 600, 600], [2, 2, 20, 20]], [0, 0, 0, 0])
    samples = [replace(s, target=nan) if s.image.name == "2.png" else s for s in training.samples]
    trained = run((replace(training, samples=samples), validation), tmp_path / "run")
    assert trained.summary.startswith("left out 2 images and 3 boxes of 8 images")
    assert f"ssd-edge check-data {folder}" in trained.summary
    assert "for validation, left out 1 image" in trained.summary
    assert all(torch.isfinite(value).all() for value in weights(trained.checkpoint).values())


@pytest.mark.parametrize("part", ["train", "validate"])
def test_no_usable_image(pictures, tmp_path, part):
    bad = replace(pictures[0], samples=[Sample(tmp_path / "nope.png", Target.of([], []))])
    both = (bad, pictures[1]) if part == "train" else (pictures[0], bad)
    with pytest.raises(DataError, match=f"no usable images in .* to {part} with.*check-data .* lists why"):
        run(both, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_empty_data_set(pictures, tmp_path):
    with pytest.raises(DataError, match="no usable images"):
        run((replace(pictures[0], samples=[]), pictures[1]), tmp_path / "run")


def test_one_image_is_too_few_for_batch_norm(pictures, tmp_path):
    with pytest.raises(DataError, match=r"1 usable image in .* takes 2 or more"):
        run((replace(pictures[0], samples=pictures[0].samples[:1]), pictures[1]), tmp_path / "run")


@pytest.mark.parametrize("number", [2, 3, 5])
def test_few_images(pictures, tmp_path, number):
    few = replace(pictures[0], samples=pictures[0].samples[-number:])  # the last one has no object
    assert run((few, pictures[1]), tmp_path / "run", replace(RECIPE, epochs=1)).checkpoint.exists()


def test_no_object_anywhere(pictures, tmp_path):
    empty = tuple(
        replace(data, samples=[replace(s, target=Target.of([], [])) for s in data.samples]) for data in pictures
    )
    with pytest.raises(DataError, match=r"nothing to learn from in .*: 8 usable images with no object to learn; "):
        run(empty, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_only_objects_that_cannot_be_learnt_from(pictures, tmp_path, flag):
    flagged = [
        replace(s, target=replace(s.target, **{flag: np.ones(len(s.target), bool)})) for s in pictures[0].samples
    ]
    with pytest.raises(DataError, match="no object to learn, but 14 boxes of crowds or difficult objects"):
        run((replace(pictures[0], samples=flagged), pictures[1]), tmp_path / "run")


def test_validation_without_an_object_is_undefined_and_not_0(pictures, tmp_path):
    """The weights of the last epoch are kept, and early stopping, which needs AP, is refused."""
    empty = replace(pictures[1], samples=[replace(s, target=Target.of([], [])) for s in pictures[1].samples])
    notes: list[str] = []
    started = TrainingRun(pictures[0], empty, tmp_path / "run", RECIPE, show_bar=False, note=notes.append)
    trained = train(started)
    assert trained.ap50 is None
    assert any("the 3 images to validate on show no object, so AP is undefined" in note for note in notes)
    assert load_checkpoint(trained.checkpoint).spec.provenance["validation_ap50"] == "undefined"
    assert_equal_weights(trained.checkpoint, tmp_path / "run" / "last.ckpt")
    with pytest.raises(DataError, match="--patience cannot tell when to stop"):
        train(replace(started, recipe=replace(RECIPE, patience=1)))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_to_validate_on_nothing_keeps_the_last_weights(pictures, tmp_path, ema):
    """The file holds the last epoch's average where there is one."""
    nothing = replace(pictures[1], samples=[], part=NO_SPLIT)
    notes: list[str] = []
    recipe = replace(RECIPE, ema=ema)
    started = TrainingRun(pictures[0], nothing, tmp_path / "run", recipe, show_bar=False, note=notes.append)
    trained = train(started)
    assert (trained.ap50, trained.ap50_interval, trained.validation["images"]) == (None, None, 0)
    assert notes[0].endswith("; validates on nothing")
    last = read_torch_file(tmp_path / "run" / "last.ckpt")
    name = "network.backbone.features.0.0.weight"
    kept = load_checkpoint(trained.checkpoint).state_dict()[name.removeprefix("network.")]
    assert torch.equal(kept, last["state_dict"][name])
    if ema:
        assert not torch.equal(kept, last["current_model_state"][name])
    with pytest.raises(DataError, match="--patience cannot tell when to stop without images"):
        train(replace(started, recipe=replace(RECIPE, patience=1)))


def test_it_says_what_it_learns_from_and_validates_on(pictures, tmp_path):
    notes: list[str] = []
    train(TrainingRun(*pictures, tmp_path / "run", RECIPE, show_bar=False, note=notes.append))
    assert notes[0] == (
        f"learns from 8 images with 14 objects (split train, {pictures[0].root}); "
        f"validates on 3 images with 4 objects (split train, {pictures[1].root})"
    )


def test_it_says_which_objects_no_default_box_fits(pictures, tmp_path):
    """The sentence comes before the first step, of the images that are learnt from, and only where there is reason."""
    tiny = Target.of([[5, 5, 8, 8]], [0])
    wide = Target.of([[9, 10.8, 21, 16.2]], [1])  # of 40 × 36 pixels: the default box at 0.375, 0.375 of 0.3 × 0.15
    notes: list[str] = []
    for target in (tiny, wide):
        learnt = replace(pictures[0], samples=[replace(one, target=target) for one in pictures[0]])
        recipe = replace(RECIPE, epochs=1)
        train(TrainingRun(learnt, pictures[1], tmp_path / "run", recipe, show_bar=False, note=notes.append))
    (said,) = [note for note in notes if "default box" in note]
    assert said.startswith("no default box of tiny fits (IoU of 0.5 or more) 100% of 8 bolt: each of these objects is ")
    assert notes.index(said) == 3  # after what is learnt from, what is wrong in it, and the class without a box


def test_what_is_held_out_is_known_from_the_checkpoint(pictures, tmp_path):
    """Without a validation part a fifth is held out; fine-tuning with another seed holds the same images out again."""
    started = TrainingRun(pictures[0], None, tmp_path / "a", RECIPE, show_bar=False)
    trained = train(started)
    assert trained.validation["held_out"]
    assert (trained.training["images"], trained.validation["images"]) == (6, 2)
    spec = load_checkpoint(trained.checkpoint).spec
    held_out = held_out_of(spec.provenance)
    assert (len(held_out.digests), held_out.split, held_out.seed) == (2, "train", 0)
    assert spec.provenance["validation_split"] == "held-out"
    chosen = {s.image for s in pictures[0] if digest_of(s.image) in held_out.digests}
    assert len(chosen) == 2

    other = replace(started, folder=tmp_path / "b", recipe=replace(RECIPE, seed=5))
    again = train(other, start_from=trained.checkpoint)
    assert held_out_of(load_checkpoint(again.checkpoint).spec.provenance) == held_out
    alone = train(replace(other, folder=tmp_path / "c"))
    assert held_out_of(load_checkpoint(alone.checkpoint).spec.provenance).digests != held_out.digests

    given = TrainingRun(*pictures, tmp_path / "d", RECIPE, show_bar=False)
    validated = train(given, start_from=trained.checkpoint)
    assert held_out_of(load_checkpoint(validated.checkpoint).spec.provenance) is None


def test_a_resumed_training_holds_out_what_it_held_out_before(pictures, tmp_path):
    started = TrainingRun(pictures[0], None, tmp_path / "run", RECIPE, show_bar=False)
    held_out = held_out_of(load_checkpoint(train(started).checkpoint).spec.provenance)
    longer = replace(started, resume=True, recipe=replace(RECIPE, epochs=3, seed=5))
    assert held_out_of(load_checkpoint(train(longer).checkpoint).spec.provenance) == held_out


def test_pictures_that_are_validated_on_are_not_learnt_from(pictures, tmp_path):
    """Three of eight training pictures are copies of the validation pictures, byte for byte."""
    for ours, theirs in zip(pictures[0].samples[:3], pictures[1].samples, strict=True):
        ours.image.write_bytes(theirs.image.read_bytes())
    trained = run(pictures, tmp_path / "run")
    assert (trained.training["images"], trained.validation["images"]) == (5, 3)
    assert trained.summary.startswith("left out 3 images of 8 images (ssd-edge check-data ")


def test_classes_that_differ_between_training_and_validation(pictures, tmp_path):
    with pytest.raises(DataError, match="the same classes in the same order"):
        run((pictures[0], replace(pictures[1], labels=("nut", "bolt"))), tmp_path / "run")


def test_a_loss_that_is_no_number_ends_training_with_a_sentence(pictures, tmp_path, monkeypatch):
    usual = TrainingSamples.__getitem__

    def planted(samples: TrainingSamples, key: tuple[int, int]):
        item = usual(samples, key)
        if key == (1, 5):
            item[0][0, 0, 0] = math.nan
        return item

    monkeypatch.setattr(TrainingSamples, "__getitem__", planted)
    with pytest.raises(ModelError, match=r"the loss is nan at step [23], with the images 5.png: lower --lr") as error:
        run(pictures, tmp_path / "run")
    assert "\n" not in str(error.value)
    kept = weights(tmp_path / "run" / "last.ckpt")  # the epoch before
    assert all(torch.isfinite(value).all() for value in kept.values())


def test_fine_tuning_starts_from_the_weights_given(pictures, tmp_path):
    source = tmp_path / "source.pt"
    network = make_network(make_spec("tiny", ["bolt", "gear", "nut"]))
    save_checkpoint(source, network, network.spec)
    run(pictures, tmp_path / "run", replace(RECIPE, epochs=1, optimiser=Optimiser(lr=1e-12)), start_from=source)
    trained_weights = weights(tmp_path / "run" / "model.pt")
    torch.testing.assert_close(
        trained_weights["loc_heads.0.weight"], network.loc_heads[0].weight.detach(), rtol=0, atol=1e-6
    )
    assert "start_from_sha256" in load_checkpoint(tmp_path / "run" / "model.pt").spec.provenance


def test_what_fine_tuning_leaves_out_is_said_and_listed(pictures, tmp_path):
    """From three classes to two, all but the class heads is taken; a resumed run does not say it again."""
    source = tmp_path / "source.pt"
    network = make_network(make_spec("tiny", ["bolt", "gear", "nut"]))
    save_checkpoint(source, network, network.spec)
    notes: list[str] = []
    started = TrainingRun(*pictures, tmp_path / "run", RECIPE, show_bar=False, note=notes.append)
    trained = train(started, start_from=source)
    heads = ("class_heads.0.bias", "class_heads.0.weight", "class_heads.1.bias", "class_heads.1.weight")
    assert trained.tensors_left_out == heads
    total = len(network.state_dict())
    parts, sound, unmatched, taken, kept = notes
    assert sound == "nothing wrong in 8 images with 14 boxes"
    assert unmatched.startswith("no default box of tiny fits ")
    assert taken == (
        f"taken from {source}: {total - 4} of {total} tensors; left out because their shape differs: "
        f"{', '.join(heads)} (trained from scratch)"
    )
    assert kept == "decoded images are kept in memory: 0.0 MiB"
    resumed = train(replace(started, resume=True), start_from=source)
    assert notes[5:] == [parts, sound, kept]
    assert resumed.tensors_left_out == heads
    assert run(pictures, tmp_path / "plain").tensors_left_out == ()


def test_the_command_says_what_it_leaves_out(pictures, tmp_path, capsys):
    """The sentence on stderr, and the list in the JSON on stdout."""
    source = tmp_path / "source.pt"
    network = make_network(make_spec("tiny", ["bolt", "gear", "nut"]))
    save_checkpoint(source, network, network.spec)
    data = write_yolo(pictures[0], tmp_path / "data")
    arguments = ["train", str(data), "-o", str(tmp_path / "run"), "--model", "tiny", "--from", str(source)]
    app([*arguments, "--epochs", "1", "--workers", "0", "--json"], standalone_mode=False)
    printed = capsys.readouterr()
    left_out = json.loads(printed.out)["tensors_left_out"]
    assert left_out == [f"class_heads.{k}.{kind}" for k in (0, 1) for kind in ("bias", "weight")]
    total = len(network.state_dict())
    assert f"{total - 4} of {total} tensors; left out because their shape differs: {left_out[0]}, " in printed.err


def test_fine_tuning_from_another_architecture(pictures, tmp_path, checkpoint):
    with pytest.raises(ModelError, match="add --model ssdlite300_mobilenet_v2"):
        run(pictures, tmp_path / "run", start_from=checkpoint)


def test_backbone_weights_and_frozen_blocks(pictures, tmp_path):
    """A frozen block keeps its weights and its statistics; the others move."""
    file = tmp_path / "backbone.pth"
    state = make_network(make_spec("tiny", ["bolt", "nut"])).backbone.state_dict()
    torch.save(state, file)
    run(pictures, tmp_path / "run", replace(RECIPE, frozen_blocks=2), backbone_weights=file)
    trained_weights = weights(tmp_path / "run" / "last.ckpt")
    for key, value in state.items():
        frozen = int(key.split(".")[1]) < 2
        assert torch.equal(trained_weights[f"backbone.{key}"], value) == frozen, key
    assert "backbone_sha256" in load_checkpoint(tmp_path / "run" / "model.pt").spec.provenance


def test_backbone_weights_that_are_none(pictures, tmp_path):
    with pytest.raises(ModelError, match="there is no file"):
        run(pictures, tmp_path / "run", backbone_weights=tmp_path / "nope.pth")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="do not fit the backbone of tiny"):
        run(pictures, tmp_path / "run", backbone_weights=tmp_path / "other.pth")


def test_a_model_that_is_not_there(pictures, tmp_path):
    with pytest.raises(ModelError, match="no model is called 'yolo'"):
        run(pictures, tmp_path / "run", replace(RECIPE, model="yolo"))


def test_order_and_augmentation_follow_from_seed_and_epoch(pictures):
    orders = {}
    for seed in (0, 1):
        for epoch in (0, 1):
            sampler = Shuffled(8, seed)
            sampler.set_epoch(epoch)
            keys = list(sampler)
            assert len(sampler) == 8
            assert {k for k, _ in keys} == {epoch}
            assert sorted(index for _, index in keys) == list(range(8))
            orders[seed, epoch] = [index for _, index in keys]
            assert keys == list(sampler)
    assert len({tuple(order) for order in orders.values()}) == 4
    samples = TrainingSamples(DecodedImages(pictures[0].samples), make_spec("tiny", ["bolt", "nut"]), seed=5)
    for first, again in zip(samples[3, 2][:3], samples[3, 2][:3], strict=True):
        assert torch.equal(first, again)
    assert not torch.equal(samples[3, 2][0], samples[4, 2][0])


def test_a_checkpoint_as_heads(pictures, tmp_path):
    network = make_network(make_spec("tiny", ["bolt", "nut"]))
    heads = TorchHeads(network)
    images = np.random.default_rng(0).normal(0, 1, (2, 3, 32, 32)).astype(np.float32)
    loc, logits = heads.submit(images)()
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(images))
    np.testing.assert_array_equal(loc, expected[0].numpy())
    np.testing.assert_array_equal(logits, expected[1].numpy())
    heads.close()


def test_progress_goes_to_the_end(tmp_path, capfd):
    """Train with a progress bar; none of Lightning's advice reaches the screen."""
    both = draw_dataset(tmp_path / "train", 4), draw_dataset(tmp_path / "val", 2, seed=1)
    train(TrainingRun(*both, tmp_path / "run", replace(RECIPE, epochs=1)))
    printed = "".join(capfd.readouterr())
    for word in ("litlogger", "💡", "GPU available", "num_workers", "Warning", "Traceback"):
        assert word not in printed
