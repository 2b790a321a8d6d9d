"""What a recipe makes of the optimiser, the learning rate and the weights, compared with other ways to compute it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ssd_edge.data.dataset import Dataset
from ssd_edge.errors import ModelError
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.models.vgg16 import L2Norm
from ssd_edge.training.averaging import average_
from ssd_edge.training.checkpoints import load_checkpoint, read_torch_file
from ssd_edge.training.experiment import read_experiment
from ssd_edge.training.module import DetectorModule
from ssd_edge.training.optimiser import course_of, make_optimiser
from ssd_edge.training.recipe import Optimiser, Recipe, Schedule
from ssd_edge.training.recipe_files import read_recipe
from ssd_edge.training.run import Trained, TrainingRun
from ssd_edge.training.train import train
from tests.training.tiny import RECIPE

pytestmark = pytest.mark.usefixtures("tiny")


def run(pictures: tuple[Dataset, Dataset], folder: Path, recipe: Recipe, resume: bool = False) -> Trained:
    return train(TrainingRun(*pictures, folder, recipe, resume=resume, show_bar=False))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).state_dict()


def test_steps_of_the_learning_rate():
    """Compared with PyTorch's MultiStepLR; the paper's recipe gives 1e-3, then 1e-4 and 1e-5 (ssd_pascal.py)."""
    recipe = replace(RECIPE, epochs=10, schedule=Schedule("step", warmup=0, milestones=(4, 7), factor=0.5))
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimiser, [12, 21], 0.5)
    course = course_of(recipe, 30)
    for step in range(30):
        assert course(step) == reference.get_last_lr()[0], step
        optimiser.step()
        reference.step()
    paper = read_recipe("ssd300_voc")
    course = course_of(paper, 120_000)
    for step, lr in ((0, 1e-3), (79_999, 1e-3), (80_000, 1e-4), (99_999, 1e-4), (100_000, 1e-5), (119_999, 1e-5)):
        assert course(step) * paper.optimiser.lr == pytest.approx(lr, rel=1e-12)


def test_warm_up_and_cosine():
    """A straight line up, then half a cosine down to a thousandth, by hand at its quarters."""
    course = course_of(replace(RECIPE, schedule=Schedule(warmup=100)), 500)
    assert [course(step) for step in (0, 24, 49)] == [0.02, 0.5, 1.0]  # a tenth of the steps, not 100
    middle = 50 + 450 // 2
    assert course(50) == pytest.approx(1.001)
    assert course(middle) == pytest.approx(0.501)
    assert course(500) == pytest.approx(0.001)
    assert course(10_000) == pytest.approx(0.001)
    long = course_of(replace(RECIPE, schedule=Schedule(warmup=100)), 5000)
    assert [long(step) for step in (0, 49, 99)] == [0.01, 0.5, 1.0]
    at_once = course_of(replace(RECIPE, schedule=Schedule(warmup=0)), 500)
    assert at_once(0) == 1


def test_which_parameters_decay_and_how_fast_biases_learn():
    module = nn.ModuleDict({"conv": nn.Conv2d(2, 2, 1), "norm": nn.BatchNorm2d(2), "l2": L2Norm(2)})
    module["frozen"] = nn.Conv2d(2, 2, 1).requires_grad_(False)
    names = {id(parameter): name for name, parameter in module.named_parameters()}

    def groups(settings: Optimiser) -> dict[tuple[float, float], set[str]]:
        return {
            (group["lr"], group["weight_decay"]): {names[id(parameter)] for parameter in group["params"]}
            for group in make_optimiser(module, settings).param_groups
        }

    scales, biases = {"norm.weight", "l2.weight"}, {"conv.bias", "norm.bias"}
    assert groups(Optimiser(0.1, weight_decay=0.01)) == {(0.1, 0.01): {"conv.weight"}, (0.1, 0): scales | biases}
    paper = Optimiser(0.1, weight_decay=0.01, decay_scales=True, bias_lr=2)
    assert groups(paper) == {(0.1, 0.01): {"conv.weight"} | scales, (0.2, 0): biases}


@pytest.mark.parametrize("clip", [0.001, 0])
def test_clipping_bounds_the_first_step(pictures, tmp_path, clip):
    """Without momentum and decay, SGD's first step has length lr · min(clip, norm of the gradient)."""
    settings = Optimiser(lr=0.01, momentum=0, weight_decay=0, clip=clip)
    recipe = replace(RECIPE, epochs=0, iterations=1, optimiser=settings, schedule=Schedule(warmup=0), seed=3)
    before: dict[str, torch.Tensor] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            DetectorModule,
            "on_train_start",
            lambda module: before.update({n: p.detach().clone() for n, p in module.network.named_parameters()}),
        )
        run(pictures, tmp_path / "run", recipe)
    after = weights(tmp_path / "run" / "last.ckpt")
    length = torch.sqrt(sum((after[name] - value).double().square().sum() for name, value in before.items())).item()
    if clip:
        assert length == pytest.approx(0.01 * clip, rel=2e-3)  # rounding of FP32 weights near 1: 6e-8 of 1e-5
    else:
        assert length > 0.01 * 0.1


def test_iterations_end_within_an_epoch(pictures, tmp_path):
    """Eight images in batches of four: five steps are two epochs and a half."""
    schedule = Schedule("step", warmup=0, milestones=(4,))
    trained = run(pictures, tmp_path / "run", replace(RECIPE, epochs=0, iterations=5, schedule=schedule))
    rows = read_experiment(tmp_path / "run").rows
    assert [row.step for row in rows] == [2, 4, 5]
    assert [row.lr for row in rows] == pytest.approx([0.01, 0.001, 0.001])
    assert trained.ap50 == pytest.approx(max(row.ap50 for row in rows), abs=1e-6)
    assert rows[-1].ap50 is not None


def test_a_moving_average_by_hand():
    """min(decay, (1 + n) / (10 + n)) of the average stays: 2/11 of the first, 3/12 after two, at last the decay."""
    values = np.random.default_rng(0).normal(size=(40, 3))
    average, count = torch.tensor(values[0], dtype=torch.float64), torch.tensor(0)
    expected = values[0]
    for n, value in enumerate(values[1:], 1):
        average_([average, count], [torch.tensor(value), torch.tensor(n)], n, 0.7)
        kept = min(0.7, (1 + n) / (10 + n))
        expected = kept * expected + (1 - kept) * value
    assert count == 39
    np.testing.assert_allclose(average.numpy(), expected, rtol=0, atol=1e-12)


def recorded(recipe: Recipe, pictures: tuple[Dataset, Dataset], folder: Path) -> list[dict[str, torch.Tensor]]:
    """Train, and return the weights and statistics after each step."""
    steps = []

    def keep(module: DetectorModule, *_: object) -> None:
        steps.append({name: value.clone() for name, value in module.network.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DetectorModule, "on_train_batch_end", keep)
        run(pictures, folder, recipe)
    return steps


def test_what_is_validated_and_saved_is_the_average(pictures, tmp_path):
    """The average over recorded steps, in NumPy; the weights that are trained are those without any average."""
    recipe = replace(RECIPE, epochs=3, ema=0.9, validate_every=3)
    steps = recorded(recipe, pictures, tmp_path / "run")
    plain = recorded(replace(recipe, ema=0), pictures, tmp_path / "plain")
    for ours, theirs in zip(steps, plain, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    saved, last = weights(tmp_path / "run" / "model.pt"), weights(tmp_path / "run" / "last.ckpt")
    for name, value in saved.items():
        assert torch.equal(value, last[name])
        average = steps[0][name].double().numpy()
        for n, step in enumerate(steps[1:], 1):
            kept = min(0.9, (1 + n) / (10 + n)) if value.is_floating_point() else 0.0
            average = kept * average + (1 - kept) * step[name].double().numpy()
        # five roundings of FP32, each 6e-8 of the value
        np.testing.assert_allclose(value.double().numpy(), average, rtol=1e-6, atol=1e-7, err_msg=name)
    assert not torch.equal(saved["loc_heads.0.weight"], steps[-1]["loc_heads.0.weight"])
    content = read_torch_file(tmp_path / "run" / "last.ckpt")
    own = content["current_model_state"]["network.loc_heads.0.weight"]
    assert torch.equal(own, steps[-1]["loc_heads.0.weight"])


@pytest.mark.slow
def test_a_resumed_average_equals_one_that_was_never_interrupted(pictures, tmp_path, monkeypatch):
    recipe = replace(RECIPE, epochs=4, validate_every=2, ema=0.9)
    run(pictures, tmp_path / "whole", recipe)
    usual = DetectorModule.on_train_epoch_start

    def stop(module: DetectorModule) -> None:
        if module.current_epoch == 3:
            raise OSError("power cut")
        usual(module)

    with monkeypatch.context() as patch:
        patch.setattr(DetectorModule, "on_train_epoch_start", stop)
        with pytest.raises(OSError, match="power cut"):
            run(pictures, tmp_path / "parts", recipe)
    run(pictures, tmp_path / "parts", recipe, resume=True)
    for file in ("model.pt", "last.ckpt"):
        whole, parts = weights(tmp_path / "whole" / file), weights(tmp_path / "parts" / file)
        assert all(torch.equal(whole[name], parts[name]) for name in whole), file
    assert [row.epoch for row in read_experiment(tmp_path / "parts").rows] == [1, 2, 3, 4]
    whole, parts = (read_experiment(tmp_path / name).rows for name in ("whole", "parts"))
    assert [replace(row, seconds=0) for row in whole] == [replace(row, seconds=0) for row in parts]


def test_resuming_with_and_without_an_average(pictures, tmp_path):
    run(pictures, tmp_path / "run", RECIPE)
    with pytest.raises(ModelError, match="was trained without a moving average of the weights, and not with one"):
        run(pictures, tmp_path / "run", replace(RECIPE, epochs=3, ema=0.9), resume=True)
    run(pictures, tmp_path / "average", replace(RECIPE, ema=0.9))
    with pytest.raises(ModelError, match="was trained with a moving average of the weights, and not without one"):
        run(pictures, tmp_path / "average", replace(RECIPE, epochs=3), resume=True)


def test_resuming_with_other_frozen_layers(pictures, tmp_path):
    run(pictures, tmp_path / "run", RECIPE)
    files = ("run.json", "recipe.yaml", "curves.csv")
    before = [(tmp_path / "run" / name).read_bytes() for name in files]
    with pytest.raises(ModelError, match="was trained with other frozen layers or another optimiser"):
        run(pictures, tmp_path / "run", replace(RECIPE, epochs=3, frozen_backbone=True), resume=True)
    run(pictures, tmp_path / "run", replace(RECIPE, seed=3), resume=True)  # it has done all its epochs
    assert [(tmp_path / "run" / name).read_bytes() for name in files] == before


def test_a_frozen_backbone_keeps_weights_and_statistics(pictures, tmp_path):
    recipe = replace(RECIPE, frozen_backbone=True, epochs=2)
    first, *_, last = recorded(recipe, pictures, tmp_path / "run")
    for name, value in last.items():
        assert torch.equal(value, first[name]) == name.startswith("backbone."), name


def test_more_frozen_blocks_than_there_are(pictures, tmp_path):
    with pytest.raises(ModelError, match="the backbone of tiny has 3 blocks, of which 4 cannot be frozen"):
        run(pictures, tmp_path / "run", replace(RECIPE, frozen_blocks=4))


def test_a_frozen_backbone_of_each_model():
    """Nothing of the backbone has a gradient, and its BatchNorm keeps its statistics, L2Norm and fc7 of VGG too."""
    for name in ("ssdlite300_mobilenet_v2", "ssdlite320_mobilenet_v3_large", "ssd300_vgg16"):
        with torch.device("meta"):
            network = make_network(make_spec(name, ["bolt"]))
        module = DetectorModule(network, Recipe(name, frozen_backbone=True))
        module.train()
        module.on_train_epoch_start()
        trained = {p for p, value in network.named_parameters() if value.requires_grad}
        assert {p.split(".")[0] for p in trained} == {"extras", "loc_heads", "class_heads"}
        assert not any(layer.training for layer in network.backbone.modules())
