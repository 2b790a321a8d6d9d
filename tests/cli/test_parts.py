"""Which images a command learns from and measures on, what it says of it, and whether its hints work as printed."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import cv2
import numpy as np
import pytest

from ssd_edge.data.held_out import digest_of
from ssd_edge.graph.heads import read_spec
from ssd_edge.models.catalogue import MODELS
from ssd_edge.models.registry import Architecture
from tests.helpers import Chosen, small_spec
from tests.models_for_tests import write_tiny
from tests.training.tiny import tiny_network

LEARNT = ("bolt", "nut")


def flat(root, number=40, yaml="names: [bolt, nut]\n"):
    """Write a YOLO data set without splits, with a bolt or nut in each noisy picture; its path holds a blank."""
    rng = np.random.default_rng(1)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for k in range(number):
        cv2.imwrite(str(root / "images" / f"{k:02}.png"), rng.integers(0, 255, (32, 40, 3), np.uint8))
        (root / "labels" / f"{k:02}.txt").write_text(f"{k % 2} 0.5 0.5 0.4 0.4\n")
    (root / "data.yaml").write_text(yaml)
    return root


def heads_that_held_out(path, root, number=8):
    """Write tiny heads that say that they held out the first pictures of a data set."""
    digests = sorted(digest_of(file) for file in sorted((root / "images").iterdir())[:number])
    facts = {"held_out": " ".join(digests), "held_out_of": "", "held_out_seed": "0"}
    return write_tiny(path, small_spec(labels=LEARNT).with_provenance(**facts))


def hints(text):
    """Find the commands that sentences recommend, as they are printed."""
    found = re.findall(r"ssd-edge [a-z-]+ (?:'[^']*'|[^\s;:,)']+|\s(?=[-/'\w]))*", text)
    return [shlex.split(one.split(" lists ")[0].split(" shows ")[0].split(" measures ")[0]) for one in found]


def followed(cli, text, codes):
    """Run each recommended command of a text, and check its exit code."""
    commands = hints(text)
    assert commands, text
    results = [cli(*words[1:]) for words in commands]
    assert [done.code in codes for done in results] == [True] * len(results), (commands, results)
    return results


def test_eval_says_what_it_measured_on_and_how_to_measure_on_the_rest(cli, tmp_path):
    root = flat(tmp_path / "my set")
    model = heads_that_held_out(tmp_path / "my model.onnx", root)
    done = cli("eval", model, root)
    assert f"measured on 40 images with 40 objects ({root})" in done.err
    assert "the model may have learnt from some of these" in done.err
    (measured,) = followed(cli, done.err, [0])
    assert f"measured on 8 images with 8 objects (held out of {root})" in measured.err
    assert "may have learnt" not in measured.err
    content = json.loads(cli("eval", model, root, "--split", "held-out", "--json").out)
    assert content["num_images"] == 8
    assert content["data"] == {
        "path": str(root),
        "split": "",
        "source": None,
        "held_out": True,
        "images": 8,
        "objects": 8,
        "left_out": {},
        "unknown_classes": {},
        "summary": "nothing wrong in 8 images with 8 boxes",
    }


def test_eval_of_a_model_that_was_trained_on_a_split(cli, data, tmp_path):
    """On all images or on train, the hint leads to val; on val, or on another data set, there is none."""
    facts = {"dataset": data.name, "dataset_split": "train", "validation_split": "val"}
    model = write_tiny(tmp_path / "a.onnx", small_spec(labels=LEARNT).with_provenance(**facts))
    for options in ((), ("--split", "train")):
        (measured,) = followed(cli, cli("eval", model, data, *options).err, [0])
        assert "measured on 3 images" in measured.err
        assert "may have learnt" not in measured.err
    other = flat(tmp_path / "other", number=4)
    assert "may have learnt" not in cli("eval", model, other).err


def test_eval_on_a_split_names_its_file(cli, heads_onnx, data):
    done = cli("eval", heads_onnx, data, "--split", "val")
    assert f"measured on 3 images with 3 objects (split val, {data / 'images' / 'val'})" in done.err


def test_classes_that_the_model_lacks_are_named_with_their_counts(cli, tmp_path):
    """Of 40 boxes, the 20 nuts are of no class of the model; a class number without a name is check-data's to list."""
    root = flat(tmp_path / "set")
    (root / "labels" / "00.txt").write_text("0 0.5 0.5 0.4 0.4\n7 0.5 0.5 0.2 0.2\n")
    model = write_tiny(tmp_path / "a.onnx", small_spec(labels=("bolt", "gear")))
    done = cli("eval", model, root)
    assert re.search(r"nut \(not in *│ +20 ", done.out)
    assert "left out 20 boxes of 40 images, of a class that is not in the class list: nut (20)" in done.err
    (listed,) = followed(cli, done.err, [1])
    assert "class number 7 is not in the class list" in listed.out
    content = json.loads(cli("eval", model, root, "--json").out)["data"]
    assert content["unknown_classes"] == {"nut": 20}
    assert content["left_out"] == {"unknown-class": 21}
    assert content["objects"] == 20


def test_ap_without_objects_is_undefined(cli, heads_onnx, tmp_path):
    root = flat(tmp_path / "set", number=3)
    for file in (root / "labels").iterdir():
        file.write_text("")
    done = cli("eval", heads_onnx, root)
    assert done.code == 0
    assert "AP is undefined: no object to find in 3 images" in done.err
    assert "undefined" in done.out
    assert "0.000" not in done.out
    assert json.loads(cli("eval", heads_onnx, root, "--json").out)["ap"] is None


@pytest.mark.slow
def test_calibrate_measures_on_what_was_held_out_and_does_not_calibrate_with_it(cli, tmp_path):
    root = flat(tmp_path / "my set")
    model = heads_that_held_out(tmp_path / "my model.onnx", root)
    done = cli("calibrate", model, root)
    assert done.code == 0, done.err
    assert f"calibrated with images of {root}, without the 8 images held out" in done.err
    assert f"AP measured on 8 images with 8 objects (held out of {root})" in done.err
    int8 = tmp_path / "my model.int8.onnx"
    assert read_spec(int8).provenance["held_out"] == read_spec(model).provenance["held_out"]
    followed(cli, done.err.splitlines()[-1], [0])
    content = json.loads(cli("eval", tmp_path / "my model.int8.engine", root, "--split", "held-out", "--json").out)
    assert content["num_images"] == 8
    assert "from: held_out" in cli("inspect", int8).out
    assert "8 images" in cli("inspect", int8).out
    again = json.loads(cli("calibrate", model, root, "--json").out)
    assert (again["images"], again["data"]["images"], again["data"]["held_out"]) == (32, 8, True)
    assert again["calibrated_with"].startswith(str(root))


@pytest.mark.slow
def test_calibrate_takes_train_and_val_where_they_are_declared(cli, heads_onnx, data, tmp_path):
    done = json.loads(cli("calibrate", heads_onnx, data, "--force", "-o", tmp_path / "a.onnx", "--json").out)
    assert done["calibrated_with"] == f"split train, {data / 'images' / 'train'}"
    assert done["images"] == 9
    assert (done["data"]["split"], done["data"]["images"]) == ("val", 3)
    assert done["fp32"]["num_images"] == 3


@pytest.mark.parametrize("command", ["train", "calibrate"])
def test_a_declared_val_that_is_not_there_is_an_error(cli, spoilt, heads_onnx, command):
    shutil.rmtree(spoilt / "images" / "val")
    options = {"train": ("train", spoilt), "calibrate": ("calibrate", heads_onnx, spoilt, "--force")}
    option = {"train": "--val-split held-out", "calibrate": "--eval-split"}[command]
    cli(*options[command]).sentence("declares val: images/val", "is not there", option)


def test_check_data_lists_pictures_that_splits_have_in_common(cli, spoilt):
    """A training picture under another name in val is left out of training, and both names are told."""
    ours, theirs = spoilt / "images" / "train" / "1.png", spoilt / "images" / "val" / "copy.png"
    shutil.copy(ours, theirs)
    shutil.copy(spoilt / "labels" / "train" / "1.txt", spoilt / "labels" / "val" / "copy.txt")
    line = f"duplicate-image: {ours}: the same picture as {theirs} in split val (image left out)"
    for options in ((), ("--split", "train")):
        done = cli("check-data", spoilt, *options)
        assert done.code == 1
        assert line in done.out
    done = cli("check-data", spoilt, "--split", "val")
    assert done.code == 0, done.out


def test_check_data_reads_all_splits_of_coco(cli, tmp_path):
    """A class that only one file names is counted, and a broken file is an error."""
    (tmp_path / "annotations").mkdir()
    for split, name in (("train", "nut"), ("val", "bolt")):
        (tmp_path / split).mkdir()
        cv2.imwrite(str(tmp_path / split / "a.png"), np.full((20, 20, 3), len(split), np.uint8))
        content = {
            "images": [{"id": 1, "file_name": "a.png"}],
            "categories": [{"id": 1, "name": name}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 8, 8]}],
        }
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    report = json.loads(cli("check-data", tmp_path, "--json").out)
    assert report["images"] == 2
    assert {row["name"]: row["objects"] for row in report["classes"]} == {"bolt": 1, "nut": 1}
    (tmp_path / "annotations" / "instances_val.json").write_text("{")
    cli("check-data", tmp_path).sentence("instances_val.json as JSON")


def test_check_data_of_a_set_with_nothing_to_learn_from(cli, tmp_path):
    root = flat(tmp_path / "set", number=2)
    for file in (root / "labels").iterdir():
        file.write_text("")
    done = cli("check-data", root)
    assert done.code == 1
    assert "no object to learn from or to find in 2 images" in done.out
    sentence = cli("train", root, "-o", tmp_path / "run").sentence("2 usable images", "takes 3 or more: add images")
    assert not hints(sentence)


@pytest.mark.slow
def test_hints_of_train_are_commands_that_work(cli, tmp_path):
    """Each sentence with which training refuses a data set names a command that tells the rest of it."""
    few = flat(tmp_path / "few one", number=3)
    (few / "images" / "00.png").write_bytes(b"no picture")
    (listed,) = followed(cli, cli("train", few, "-o", tmp_path / "run").sentence("2 usable images"), [1])
    assert "unreadable-image" in listed.out

    empty = flat(tmp_path / "an empty one", number=4)
    for file in (empty / "labels").iterdir():
        file.write_text("")
    (listed,) = followed(cli, cli("train", empty, "-o", tmp_path / "run").sentence("nothing to learn from"), [1])
    assert "no object to learn from" in listed.out

    copies = flat(tmp_path / "one of copies", number=30)
    for folder in ("images", "labels"):
        (copies / folder / "train").mkdir()
        for file in sorted((copies / folder).glob("*.*")):
            file.rename(copies / folder / "train" / file.name)
        shutil.copytree(copies / folder / "train", copies / folder / "val")
    refused = cli("train", copies, "-o", tmp_path / "run").sentence("also one to measure on")
    (listed,) = followed(cli, refused, [1])
    assert listed.out.count("duplicate-image: ") == 30  # --all is in the hint


@pytest.mark.slow
def test_next_of_train_and_export(cli, tmp_path, monkeypatch):
    """``next:`` lines are followed word for word; DATA stands for the data set."""
    levels = small_spec().levels
    monkeypatch.setitem(MODELS, "tiny", Chosen(lambda: Architecture((32, 32), {"only": levels}, tiny_network)))
    root = flat(tmp_path / "my set")
    arguments = ("--model", "tiny", "--epochs", 1, "--batch-size", 4, "--workers", 0, "-o", tmp_path / "my run")
    done = cli("train", root, *arguments)
    assert done.code == 0, done.err
    assert f"learns from 32 images with 32 objects ({root}); validates on 8 images with 8 objects (held out" in done.err
    (exported,) = followed(cli, done.err.splitlines()[-1], [0])
    first, second = exported.err.splitlines()[-1].removeprefix("next: ").split(", or ")
    assert cli(*shlex.split(second)[1:]).code == 0
    calibrated = cli(*(root if word == "DATA" else word for word in shlex.split(first)[1:]))
    assert calibrated.code == 0, calibrated.err
    assert "AP measured on 8 images with 8 objects (held out of" in calibrated.err
