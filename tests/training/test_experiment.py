"""The folder that a training leaves, and the comparison of such folders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from ssd_edge.cli.main import app
from ssd_edge.data.dataset import Dataset
from ssd_edge.errors import ModelError
from ssd_edge.training.compare import differences, names_of, same_validation
from ssd_edge.training.experiment import Row, draw_curves, points, read_experiment, read_rows, write_facts, write_rows
from ssd_edge.training.module import DetectorModule
from ssd_edge.training.plot import Line, Panel, draw, ticks
from ssd_edge.training.recipe import Optimiser, Recipe
from ssd_edge.training.recipe_files import read_recipe, write_recipe
from ssd_edge.training.run import Trained, TrainingRun
from ssd_edge.training.train import train
from tests.training import tiny
from tests.training.conftest import write_yolo
from tests.training.test_train import assert_equal_weights, interrupt_at

RECIPE = replace(tiny.RECIPE, epochs=3, validate_every=2)

pytestmark = pytest.mark.usefixtures("tiny")


def run(pictures: tuple[Dataset, Dataset], folder: Path, recipe: Recipe = RECIPE, resume: bool = False) -> Trained:
    return train(TrainingRun(*pictures, folder, recipe, resume=resume, show_bar=False))


def test_the_record_of_a_run(pictures, tmp_path):
    """Rows are compared with the losses that the module computed, facts with what was trained."""
    losses: list[float] = []
    usual = DetectorModule.training_step

    def step(module: DetectorModule, *batch: object) -> object:
        result = usual(module, *batch)
        losses.append(result["loss"].item())
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DetectorModule, "training_step", step)
        trained = run(pictures, tmp_path / "run")
    one = read_experiment(tmp_path / "run")
    assert [row.epoch for row in one.rows] == [1, 2, 3]
    assert [row.step for row in one.rows] == [2, 4, 6]
    means = [sum(losses[k : k + 2]) / 2 for k in (0, 2, 4)]
    assert [row.loss for row in one.rows] == pytest.approx(means, rel=1e-5)  # six digits are written
    assert [row.loss_loc + row.loss_conf for row in one.rows] == pytest.approx(means, rel=1e-5)
    assert [row.ap50 is None for row in one.rows] == [True, False, False]  # after two epochs, and at the end
    assert one.best.ap50 == pytest.approx(trained.ap50, abs=1e-6)
    assert 0 < one.rows[0].seconds < one.rows[-1].seconds
    assert one.facts["state"] == "finished"
    assert one.facts["seed"] == 0
    assert one.facts["result"]["ap50"] == trained.ap50
    assert one.facts["classes"] == ["bolt", "nut"]
    assert one.facts["training"]["images"] == 8
    assert one.facts["validation"]["labels_sha256"] == pictures[1].fingerprint()
    assert {"torch", "pytorch-lightning"} <= set(one.facts["versions"])
    assert one.recipe["optimiser.lr"] == 0.01
    low, high = one.interval
    assert 0 <= low <= trained.ap50 <= high <= 1
    assert high - low > 0.2  # three images say little
    picture = cv2.imread(str(tmp_path / "run" / "curves.png"))
    assert picture.shape[1] == 3 * 460
    assert (picture != 255).any()


@pytest.mark.slow
def test_its_recipe_gives_the_same_weights_again(pictures, tmp_path):
    run(pictures, tmp_path / "first", replace(RECIPE, seed=4, ema=0.9))
    run(pictures, tmp_path / "again", read_recipe(str(tmp_path / "first" / "recipe.yaml")))
    assert_equal_weights(tmp_path / "first" / "model.pt", tmp_path / "again" / "model.pt")


def test_an_image_that_changes_has_another_hash(pictures, tmp_path):
    run(pictures, tmp_path / "first", replace(RECIPE, epochs=1))
    file = pictures[1].samples[0].image
    cv2.imwrite(str(file), cv2.imread(str(file)) // 2)
    run(pictures, tmp_path / "again", replace(RECIPE, epochs=1))
    first, again = (read_experiment(tmp_path / name) for name in ("first", "again"))
    assert first.facts["training"] == again.facts["training"]
    assert first.facts["validation"]["images_sha256"] != again.facts["validation"]["images_sha256"]
    assert first.facts["validation"]["labels_sha256"] == again.facts["validation"]["labels_sha256"]
    assert same_validation([first, first])
    assert not same_validation([first, again])


def test_a_run_that_ends_early_says_why(pictures, tmp_path, monkeypatch):
    def cut() -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        interrupt_at(patch, 2, cut)
        with pytest.raises(OSError, match="power cut"):
            run(pictures, tmp_path / "run")
    one = read_experiment(tmp_path / "run")
    assert one.facts["state"] == "OSError power cut"
    assert [row.epoch for row in one.rows] == [1, 2]
    run(pictures, tmp_path / "run", resume=True)
    one = read_experiment(tmp_path / "run")
    assert one.facts["state"] == "finished"
    assert [row.epoch for row in one.rows] == [1, 2, 3]
    assert one.rows[1].seconds < one.rows[2].seconds


def test_a_damaged_table_of_a_run_that_is_resumed(pictures, tmp_path):
    run(pictures, tmp_path / "run")
    (tmp_path / "run" / "curves.csv").write_text("nonsense\n")
    with pytest.raises(ModelError, match=r"is damaged: curves.csv must begin with epoch,step.*; delete it to resume"):
        run(pictures, tmp_path / "run", replace(RECIPE, epochs=4), resume=True)
    (tmp_path / "run" / "curves.csv").unlink()  # as of an earlier version
    run(pictures, tmp_path / "run", replace(RECIPE, epochs=4), resume=True)
    assert [row.epoch for row in read_experiment(tmp_path / "run").rows] == [4]


def test_rows_are_read_as_they_were_written(tmp_path):
    rows = [Row(0, 0, 0.0, ap50=0.5), Row(1, 7, 1.25, 0.01, 3.5, 1.5, 2.0), Row(2, 14, 2.5, 1e-5, ap=0.25, ap50=0.75)]
    write_rows(tmp_path / "curves.csv", rows)
    assert read_rows(tmp_path / "curves.csv") == rows
    text = (tmp_path / "curves.csv").read_text()
    assert text.splitlines()[2] == "1,7,1.25,0.01,3.5,1.5,2,,"
    for wrong in (text + "3,4\n", text.replace("0.75", "x"), ""):
        (tmp_path / "curves.csv").write_text(wrong)
        with pytest.raises(ValueError, match=r"line 5|could not convert|must begin with"):
            read_rows(tmp_path / "curves.csv")
    write_rows(tmp_path / "curves.csv", [])
    assert read_rows(tmp_path / "curves.csv") == []


def write_run(folder: Path, recipe: Recipe, rows: list[Row], **facts: object) -> Path:
    folder.mkdir(parents=True)
    write_recipe(recipe, folder / "recipe.yaml")
    write_rows(folder / "curves.csv", rows)
    same = {"labels_sha256": "a", "images_sha256": "b"}
    write_facts(folder, {"state": "finished", "training": {"images": 12}, "validation": same, "result": {}, **facts})
    return folder


@pytest.fixture
def two(tmp_path) -> tuple[Path, Path]:
    """Two runs with other settings; the second one stopped before it was validated."""
    rows = [Row(k, 10 * k, 30.0 * k, 0.1, 3 / k, ap50=k / 10 if k % 2 else None) for k in range(1, 6)]
    first = write_run(tmp_path / "first", RECIPE, rows, result={"ap50_interval": [0.41, 0.62]})
    second = replace(RECIPE, ema=0.9, workers=3, optimiser=Optimiser(lr=0.02))
    return first, write_run(tmp_path / "second", second, rows[1:2], state="KeyboardInterrupt")


def test_what_differs(two, tmp_path):
    both = [read_experiment(folder) for folder in two]
    assert differences(both) == {"optimiser.lr": [0.01, 0.02], "ema": [0, 0.9]}
    assert differences(both[:1]) == {}
    assert names_of(both) == ["first", "second"]
    assert names_of([both[0], both[0]]) == [str(two[0])] * 2
    (two[1] / "recipe.yaml").write_text("epochs: 3\nfuture: 1\n")  # of another version
    assert differences([both[0], read_experiment(two[1])])["future"] == [None, 1]


def test_the_command(two, tmp_path, capsys):
    picture = tmp_path / "both.png"
    app(["compare", *map(str, two), "-o", str(picture)], standalone_mode=False)
    printed = capsys.readouterr()
    for words in ("0.500 (0.410 … 0.620)", "undefined", "KeyboardInterrupt", "optimiser.lr", "0.02", "2.5"):
        assert words in printed.out
    assert "cannot be compared" not in printed.err
    assert str(picture) in printed.err.replace("\n", "")
    assert cv2.imread(str(picture)).shape[1] == 3 * 460
    app(["compare", *map(str, two), "-o", str(picture), "--json"], standalone_mode=False)
    facts = json.loads(capsys.readouterr().out)
    first, second = facts["runs"]
    assert (first["best_ap50"], first["best_epoch"], first["best_ap50_interval"]) == (0.5, 5, [0.41, 0.62])
    assert (second["best_ap50"], second["epochs"], second["seconds"]) == (None, 2, 60.0)
    assert facts["same_validation"]
    write_facts(two[1], {"validation": {"labels_sha256": "a", "images_sha256": "c"}})
    app(["compare", *map(str, two), "-o", str(picture)], standalone_mode=False)
    assert "not validated on the same images" in capsys.readouterr().err


def test_folders_that_are_no_runs(two, tmp_path):
    with pytest.raises(ModelError, match=r"is no folder of a training: it has no run.json"):
        read_experiment(tmp_path)
    for name, content, sentence in (
        ("run.json", "{", "cannot read the training in"),
        ("run.json", "[]", "must hold values by name"),
        ("recipe.yaml", "a: {", "cannot read the training in"),
        ("recipe.yaml", "3", "must hold values by name"),
        ("curves.csv", "x", "curves.csv must begin with"),
    ):
        kept = (two[0] / name).read_text()
        (two[0] / name).write_text(content)
        with pytest.raises(ModelError, match=sentence) as error:
            read_experiment(two[0])
        assert "\n" not in str(error.value)
        (two[0] / name).write_text(kept)
    (two[0] / "curves.csv").unlink()
    with pytest.raises(ModelError, match=r"has no curves.csv: the training did not begin"):
        read_experiment(two[0])


def test_resume_takes_the_recipe_of_the_folder(pictures, tmp_path, capsys):
    data = write_yolo(pictures[0], tmp_path / "data")
    write_recipe(RECIPE, tmp_path / "my.yaml")
    output = tmp_path / "run"
    common = ["train", str(data), "-o", str(output)]
    app([*common, "--recipe", str(tmp_path / "my.yaml"), "--set", "optimiser.momentum=0.5"], standalone_mode=False)
    written = yaml.safe_load((output / "recipe.yaml").read_text())
    assert written["model"] == "tiny"
    assert written["optimiser"]["momentum"] == 0.5
    app([*common, "--resume", "--epochs", "4", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["epochs"] == 4
    assert yaml.safe_load((output / "recipe.yaml").read_text()) == {**written, "epochs": 4}


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.13, 0.19, [0.12, 0.14, 0.16, 0.18, 0.2]),
        (0, 7, [0, 2, 4, 6, 8]),
        (1, 1, [0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6]),
        (0, 0, [-0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6]),
        (-3, 12, [-5, 0, 5, 10, 15]),
        (2e-5, 1e-4, [2e-5, 4e-5, 6e-5, 8e-5, 1e-4]),
    ],
)
def test_ticks_are_round_and_reach_around(low, high, marks):
    found = ticks(low, high)
    assert found == pytest.approx(marks)
    assert found[0] <= low
    assert found[-1] >= high


def test_a_curve_is_drawn_where_its_values_are(tmp_path):
    """A line from (0, 0) to (10, 1): blue in the lower left and upper right corner, on the way between, not else."""
    draw([Panel("up", "x", [Line("blue", [(0, 0), (10, 1)])])], tmp_path / "a.png")
    picture = cv2.imread(str(tmp_path / "a.png")).astype(int)
    blue = (picture[..., 0] - picture[..., 2] > 60)[:261]  # above the legend
    ys, xs = np.nonzero(blue)
    left, right, top, base = 62, 460 - 16, 34, 300 - 40
    assert abs(xs.min() - left) <= 2
    assert abs(xs.max() - right) <= 2
    expected = base - (xs - left) / (right - left) * (base - top)
    assert np.abs(ys - expected).max() <= 2.5


def test_a_picture_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"cannot write .*a.png"):
        draw([Panel("up", "x", [Line("blue", [(0, 0)])])], tmp_path / "file" / "a.png")


def test_curves_without_a_value(tmp_path):
    draw_curves(tmp_path / "a.png", [])
    draw_curves(tmp_path / "b.png", [Row(1, 2, 3.0, loss=float("nan"), ap50=0.5)])
    assert points([Row(1, 2, 3.0, loss=float("inf")), Row(2, 4, 3.0, loss=1.0)], "loss") == [(2.0, 1.0)]
    for name in ("a.png", "b.png"):
        assert cv2.imread(str(tmp_path / name)) is not None
