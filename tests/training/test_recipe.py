"""Settings of a training run, and the files that they are read from."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ssd_edge.errors import ModelError
from ssd_edge.models.registry import make_spec
from ssd_edge.training.recipe import DEFAULTS, Optimiser, Recipe, Schedule
from ssd_edge.training.recipe_files import changed, nested, parse_setting, read_recipe, shipped_recipes, write_recipe
from tests.helpers import ROOT

STEP = Schedule("step", warmup=10, milestones=(20, 30), factor=0.2)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"iterations": -1},
        {"batch_size": 1},
        {"ema": 1.0},
        {"ema": math.nan},
        {"seed": -1},
        {"patience": -1},
        {"validate_every": 0},
        {"minutes": -1.0},
        {"workers": -1},
        {"precision": "int8"},
        {"frozen_blocks": -1},
        {"augmentation": "strong"},
        {"classes": ("a", "a")},
    ],
)
def test_a_recipe_out_of_range(changes):
    (name,) = changes
    with pytest.raises(ModelError, match=f"{name} must"):
        replace(DEFAULTS, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 0.0},
        {"lr": math.nan},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"bias_lr": 0.0},
        {"clip": -1.0},
        {"clip": math.inf},
    ],
)
def test_an_optimiser_out_of_range(changes):
    (name,) = changes
    with pytest.raises(ModelError, match=f"^{name} must"):
        Optimiser(**changes)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"kind": "linear"}, "kind"),
        ({"warmup": -1}, "warmup"),
        ({"kind": "step", "milestones": (3, 3)}, "milestones"),
        ({"kind": "step", "milestones": (0, 3)}, "milestones"),
        ({"kind": "step"}, "milestones"),
        ({"milestones": (3,)}, "milestones"),
        ({"factor": 1.0}, "factor"),
    ],
)
def test_a_schedule_out_of_range(changes, name):
    with pytest.raises(ModelError, match=f"^{name} must"):
        Schedule(**changes)


def test_a_milestone_after_the_end():
    Recipe(epochs=31, schedule=STEP)
    with pytest.raises(ModelError, match="before the end, 30 iterations, but got 30"):
        Recipe(epochs=0, iterations=30, schedule=STEP)


def test_a_written_recipe_is_read_as_the_same(tmp_path):
    recipe = Recipe(
        "ssd300_vgg16",
        "coco",
        "",
        ("car", "5", "no"),
        3,
        epochs=0,
        iterations=40,
        optimiser=Optimiser(1e-3),
        schedule=STEP,
    )
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(str(tmp_path / "recipe.yaml")) == recipe
    write_recipe(DEFAULTS, tmp_path / "recipe.yaml")
    assert read_recipe(str(tmp_path / "recipe.yaml"), recipe) == DEFAULTS


def test_what_a_file_does_not_name_stays(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("# a remark\nepochs: 7\noptimiser: {lr: 1e-3}\n")
    base = replace(DEFAULTS, seed=5, optimiser=Optimiser(momentum=0.5))
    assert read_recipe(str(file), base) == replace(base, epochs=7, optimiser=Optimiser(1e-3, 0.5))
    file.write_text("")
    with pytest.raises(ModelError, match="must hold settings, one KEY: VALUE a line, but holds None"):
        read_recipe(str(file))


def test_iterations_take_the_place_of_epochs_and_the_reverse():
    steps = changed(DEFAULTS, {"iterations": 50})
    assert steps.length == (50, "iterations")
    assert changed(steps, {"epochs": 3}).length == (3, "epochs")
    assert changed(steps, {"seed": 3}).length == (50, "iterations")
    with pytest.raises(ModelError, match="epochs must be 0 with iterations"):
        changed(DEFAULTS, {"epochs": 3, "iterations": 50})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epochs: 3\nbatchsize: 8\n", "line 2: there is no setting 'batchsize'; did you mean batch_size?"),
        ("lr: 0.1\n", "line 1: there is no setting 'lr'; did you mean optimiser.lr?"),
        ("seed: 1\noptimizer:\n  lr: 1\n", "line 2: there is no setting 'optimizer'; did you mean optimiser?"),
        ("optimiser:\n  lr: 1\n  momentun: 1\n", "line 3: .* 'optimiser.momentun'; did you mean optimiser.momentum?"),
        ("colour: red\n", "line 1: there is no setting 'colour'; there are model, box_sizes, .* precision$"),
        ("1: red\n", "line 1: there is no setting '1'; there are model"),
        ("epochs: many\n", "line 1: epochs is of the wrong type: Expected int, got str"),
        ("epochs: 1.5\n", "line 1: epochs is of the wrong type: Expected int, got float"),
        ("seed: 1\nclasses: [a, 1]\n", r"line 2: classes\[1\] is of the wrong type: Expected str, got int"),
        ("optimiser: 0.1\n", "line 1: optimiser is of the wrong type: Expected settings by name, got float"),
        ("schedule:\n  warmup: x\n", "line 2: schedule.warmup is of the wrong type"),
        ("seed: 1\noptimiser:\n  lr: -1\n", "line 3: lr must be above 0, but got -1"),
        ("epochs: 0\n", "line 1: epochs must be"),
        ("a: {\n", "line 2: the recipe is no YAML"),
        ("epochs: 1\nepochs: 2\n", "line 2: 'epochs' was given before, in line 1"),
        ("optimiser:\n  lr: 1\n  lr: 2\n", r"line 3: 'optimiser\.lr' was given before, in line 2"),
        ("- epochs\n", "must hold settings, one KEY: VALUE a line, but holds"),
        ("a: !!python/object/apply:os.system [ls]\n", "the recipe is no YAML"),
    ],
)
def test_a_wrong_file(tmp_path, text, sentence):
    """One sentence with the file and the line, and nothing in the file is executed."""
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(ModelError, match=sentence) as error:
        read_recipe(str(file))
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_such_recipe(tmp_path):
    with pytest.raises(ModelError, match="there is no recipe ssd300_vok: name a file, or one of ssd300_voc"):
        read_recipe("ssd300_vok")
    with pytest.raises(ModelError, match=r"cannot read the recipe .*: Is a directory"):
        read_recipe(str(tmp_path))
    (tmp_path / "latin").write_bytes(b"model: \xe9\n")
    with pytest.raises(ModelError, match="is not text in UTF-8"):
        read_recipe(str(tmp_path / "latin"))


def test_settings_of_the_command_line():
    given = dict(map(parse_setting, ["optimiser.momentum=0.8", "optimiser.lr=1e-3", "classes=[a, b]", "ema=0.99"]))
    recipe = changed(DEFAULTS, nested(given))
    assert recipe == replace(DEFAULTS, classes=("a", "b"), ema=0.99, optimiser=Optimiser(1e-3, 0.8))
    for wrong in ("ema", "=3", ""):
        with pytest.raises(ModelError, match="must be written NAME=VALUE"):
            parse_setting(wrong)
    with pytest.raises(ModelError, match="the value of ema cannot be read"):
        parse_setting("ema={")
    with pytest.raises(ModelError, match=r"^there is no setting 'emma'; did you mean ema\?"):
        changed(DEFAULTS, {"emma": 1})
    with pytest.raises(ModelError, match="ema is of the wrong type: Expected float, got settings by name"):
        changed(DEFAULTS, nested(dict([parse_setting("ema.x=1")])))


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_fit_their_model(name):
    recipe = read_recipe(name)
    assert recipe != DEFAULTS
    assert make_spec(recipe.model, ["bolt"], recipe.box_sizes).architecture == recipe.model


@pytest.mark.parametrize("name", ["ssd300_voc", "ssd512_voc"])
def test_the_papers_figures(name):
    """The solver of examples/ssd/ssd_pascal.py (branch ssd of weiliu89/caffe), and section 3 of the paper."""
    recipe = read_recipe(name)
    base_lr, neg_pos_ratio = 0.00004, 3.0
    assert recipe.optimiser.lr == pytest.approx(base_lr * 25 / ((neg_pos_ratio + 1) / 4))
    assert (recipe.optimiser.momentum, recipe.optimiser.weight_decay, recipe.batch_size) == (0.9, 0.0005, 32)
    assert (recipe.iterations, recipe.schedule.milestones, recipe.schedule.factor) == (120_000, (80_000, 100_000), 0.1)
    # twice 40k, 10k and 10k: sections 3.1 and 3.6
    assert recipe.iterations == 2 * (40_000 + 10_000 + 10_000)
    assert (recipe.ema, recipe.optimiser.clip, recipe.schedule.warmup) == (0, 0, 0)


def test_recipes_are_part_of_the_package():
    """What setuptools puts into a wheel has them: pyproject.toml names the folder beside the samples."""
    tomllib = pytest.importorskip("tomllib")
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["ssd_edge"]
    packed = {file.name for pattern in data for file in (ROOT / "ssd_edge").glob(pattern)}
    assert {f"{name}.yaml" for name in shipped_recipes()} <= packed
    assert {"ssd300_voc", "ssd512_voc", "ssdlite_small_data"} <= set(shipped_recipes())
