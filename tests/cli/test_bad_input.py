"""Users' mistakes and failures: one clear sentence, exit code 2, no traceback; files written so far stay readable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.graph.heads import read_spec
from ssd_edge.spec import METADATA_KEY
from tests.helpers import small_spec
from tests.models_for_tests import tiny_model, write_tiny

LOOP = ("--no-window", "--every-frame")


def spoil(path):
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# No images, or too few, to calibrate with.


@pytest.mark.slow
def test_too_few_images(cli, heads_onnx, pictures, tmp_path):
    arguments = ("calibrate", heads_onnx, pictures, "-o", tmp_path / "int8.onnx", "--no-eval")
    cli(*arguments).sentence("at least 32 images", "gives 9", "--force")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_too_few_readable_images(cli, heads_onnx, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in range(33):
        picture(folder / f"{k}.png", k)
    for k in range(2):
        spoil(folder / f"{k}.png")
    arguments = ("calibrate", heads_onnx, folder, "-o", tmp_path / "int8.onnx", "--no-eval")
    cli(*arguments).sentence("at least 32 images, but only 31 could be used")
    assert not (tmp_path / "int8.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--no-eval",), "nothing to calibrate with: give DATA, --images or --scales"),
        (("--images", "photos"), "AP is measured on DATA: give it, or add --no-eval"),
        (("--no-eval", "--images", "photos", "--scales", "s.json"), "--scales and --images exclude each other"),
    ],
)
def test_nothing_to_calibrate_with(cli, heads_onnx, arguments, words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    done = cli("calibrate", heads_onnx, *arguments)
    assert done.code == 2
    assert words in done.err


def test_scales_of_another_model(cli, heads_onnx, tmp_path):
    (tmp_path / "scales.json").write_text('{"image": 0.1, "elsewhere": 0.1}')
    arguments = ("calibrate", heads_onnx, "--scales", tmp_path / "scales.json", "--no-eval", "-o", tmp_path / "a.onnx")
    cli(*arguments).sentence("the scales lack", "of this very network")
    cli(*arguments, "--cache-for", "11.0").sentence("TensorRT 7 to 10", "11.0")
    assert [path.name for path in tmp_path.iterdir()] == ["scales.json"]


# A missing or truncated image.


def coco(root, names):
    """Write a COCO file with one box in each of these pictures, which need not exist."""
    images = [{"id": k, "file_name": name, "width": 64, "height": 48} for k, name in enumerate(names)]
    boxes = [
        {"id": k + 1, "image_id": k, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}
        for k in range(len(names))
    ]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "bolt"}]}
    (root / "set.json").write_text(json.dumps(content))
    return root / "set.json"


def picture(path, level=90):
    cv2.imwrite(str(path), np.full((48, 64, 3), level, np.uint8))
    return path


def test_a_missing_image_is_left_out_and_reported(cli, heads_onnx, tmp_path):
    picture(tmp_path / "there.png")
    data = coco(tmp_path, ["there.png", "gone.png"])
    done = cli("eval", heads_onnx, data)
    assert done.code == 0
    assert "left out 1 image of 2 images" in done.err
    done = cli("check-data", data)
    assert done.code == 1
    assert "gone.png" in done.out


@pytest.mark.slow
def test_a_truncated_image_is_left_out_and_reported(cli, heads_onnx, spoilt, tmp_path):
    spoil(spoilt / "images" / "train" / "1.png")
    done = cli("eval", heads_onnx, spoilt)
    assert done.code == 0
    assert "left out 1 image of 12 images" in done.err
    done = cli(
        "calibrate", heads_onnx, spoilt, "--force", "--split", "train", "-o", tmp_path / "int8.onnx", "--no-eval"
    )
    assert done.code == 0
    assert "1.png" in done.err
    assert "over 8 images" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("command", ["eval", "calibrate", "train"])
def test_no_readable_image(cli, command, heads_onnx, spoilt, tmp_path):
    for path in (spoilt / "images").rglob("*.png"):
        path.write_bytes(b"no picture")
    arguments = {
        "eval": ("eval", heads_onnx, spoilt),
        "calibrate": ("calibrate", heads_onnx, spoilt, "--force", "-o", tmp_path / "int8.onnx"),
        "train": ("train", spoilt, "-o", tmp_path / "run"),
    }[command]
    cli(*arguments).sentence("image")
    assert not (tmp_path / "int8.onnx").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_export_needs_readable_images(cli, checkpoint, tmp_path):
    spoil(picture(tmp_path / "half.png"))
    cli("export", checkpoint, "-o", tmp_path / "heads.onnx", "--images", tmp_path).sentence("half.png")
    assert not (tmp_path / "heads.onnx").exists()


@pytest.mark.slow
def test_run_on_a_missing_or_truncated_picture(cli, bundle, tmp_path):
    cli("run", bundle, "-c", tmp_path / "gone.png", *LOOP).sentence("gone.png")
    spoil(picture(tmp_path / "half.png"))
    cli("run", bundle, "-c", tmp_path / "half.png", *LOOP).sentence("half.png")


def test_run_skips_a_truncated_picture_and_counts_it(cli, bundle, tmp_path):
    for k in range(3):
        picture(tmp_path / f"{k}.png")
    spoil(tmp_path / "1.png")
    done = cli("run", bundle, "-c", tmp_path, *LOOP, "--json")
    assert done.code == 0
    report = json.loads(done.out)
    assert (report["processed"], report["skipped"]) == (2, 1)


# An empty data set.


@pytest.mark.slow
@pytest.mark.parametrize("command", ["check-data", "train", "eval", "calibrate", "export"])
@pytest.mark.parametrize("kind", ["empty", "absent", "no labels", "empty COCO"])
def test_an_empty_data_set(cli, command, kind, heads_onnx, checkpoint, tmp_path):
    data = tmp_path / "set"
    if kind != "absent":
        data.mkdir()
    if kind == "no labels":
        (data / "notes.txt").write_text("hello")
    if kind == "empty COCO":
        data = coco(data, [])
    output = tmp_path / "output"
    arguments = {
        "check-data": ("check-data", data),
        "train": ("train", data, "-o", output),
        "eval": ("eval", heads_onnx, data),
        "calibrate": ("calibrate", heads_onnx, data, "--force", "-o", output),
        "export": ("export", checkpoint, "-o", output.with_suffix(".onnx"), "--images", data),
    }[command]
    cli(*arguments).sentence(data.name)
    assert not output.exists()


@pytest.mark.slow
def test_a_folder_without_pictures_as_a_camera(cli, bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    for command in (("run", bundle, *LOOP), ("benchmark", bundle)):
        cli(*command, "-c", tmp_path / "empty").sentence("empty", "holds no pictures")


# A label of an unknown class.


@pytest.mark.slow
def test_a_label_of_an_unknown_class(cli, heads_onnx, spoilt):
    (spoilt / "labels" / "train" / "1.txt").write_text("7 0.5 0.5 0.2 0.2\n")
    done = cli("check-data", spoilt, "--json")
    assert done.code == 1
    (issue,) = json.loads(done.out)["issues"]
    assert issue["kind"] == "unknown-class"
    assert "number 7" in issue["detail"]
    done = cli("eval", heads_onnx, spoilt)
    assert done.code == 0
    assert "left out 1 box of 12 images" in done.err


def test_a_model_that_knows_none_of_the_classes(cli, data, tmp_path):
    """There is nothing to measure: both class lists are named, before a model is run or calibrated."""
    model = write_tiny(tmp_path / "a.onnx", small_spec(labels=("cat", "dog")))
    words = ("share no class", "the model knows cat, dog", "the data set names bolt, nut")
    cli("eval", model, data, "--json").sentence(*words)
    cli("calibrate", model, data, "--force").sentence(*words)
    assert not (tmp_path / "a.int8.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize("text", ["bolt 0.5 0.5 0.2 0.2", "0 0.5 0.5", "0 nan nan 0.1 0.1", "\x00\x01", "0,1,2,3"])
def test_an_invalid_label_file(cli, spoilt, heads_onnx, text):
    (spoilt / "labels" / "train" / "1.txt").write_text(text)
    assert cli("check-data", spoilt).code == 1
    assert cli("eval", heads_onnx, spoilt).code == 0


# A missing camera, and a file that is no video.


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ("97", "there is no camera 97"),
        ("/dev/video97", "there is no camera 97"),
        ("gone.mp4", "there is no file or folder gone.mp4"),
        ("synthetic:x", "whole number"),
        ("rtsp://127.0.0.1:9/stream", "no frames come from rtsp://127.0.0.1:9/stream"),
    ],
)
def test_a_missing_camera(cli, bundle, camera, words):
    cli("run", bundle, "--camera", camera, *LOOP).sentence(words)


@pytest.mark.parametrize("age", ["100", "0ms", "-1s", "1y", "nan s"])
def test_a_largest_age_without_sense(cli, bundle, age):
    cli("run", bundle, "-c", "synthetic", *LOOP, f"--max-age={age}").sentence("--max-age", "such as 100ms", age)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://me:sec@ret@127.0.0.1:9/stream",
        "rtsp://me:sec/ret@127.0.0.1:9/stream",
        "rtsp://me:%73ec%40ret@127.0.0.1:9/stream",
        "http://127.0.0.1:9/stream?user=me&password=sec@ret",
        "rtspsrc location=rtsp://me:sec@ret@127.0.0.1:9/stream ! fakesink",
        "rtsp:/me:sec@ret@127.0.0.1:9/stream",
    ],
)
def test_no_part_of_a_password_is_shown(cli, bundle, address):
    for options in ((), ("--size", "64x48")):
        line = cli("run", bundle, "--camera", address, *LOOP, *options).sentence()
        assert not any(part in line for part in ("sec", "ret@", "73ec", "%40"))


def test_a_password_is_not_shown(cli, bundle):
    line = cli("run", bundle, "--camera", "rtsp://me:secret@127.0.0.1:9/stream", *LOOP).sentence("127.0.0.1")
    assert "secret" not in line


@pytest.mark.parametrize("content", [b"", b"no video at all", b"RIFF\x00\x00\x00\x00AVI LIST", b"\x00" * 5000])
@pytest.mark.parametrize("command", ["run", "benchmark"])
def test_a_file_that_is_no_video(cli, bundle, tmp_path, content, command):
    (tmp_path / "film.mp4").write_bytes(content)
    cli(command, bundle, "--camera", tmp_path / "film.mp4").sentence("film.mp4", "video")


@pytest.mark.slow
def test_an_output_that_cannot_be_written(cli, bundle, pictures, tmp_path):
    for option, name in (
        ("--save-video", "a.xyz"),
        ("--save-video", "none/a.mp4"),
        ("--save-json", "none/a.jsonl"),
        ("--save-images", "file/images"),
    ):
        (tmp_path / "file").write_text("in the way")
        cli("run", bundle, "-c", pictures, *LOOP, option, tmp_path / name).sentence("cannot write", tmp_path / name)


# A checkpoint or ONNX file of another architecture, or a file that is neither.


@pytest.fixture(scope="module")
def other_checkpoints(checkpoint, tmp_path_factory):
    """Files, by name, that users may take for a checkpoint of ssd-edge."""
    folder = tmp_path_factory.mktemp("checkpoints")
    content = torch.load(checkpoint, weights_only=True)
    weights = {name.removeprefix("network."): value for name, value in content["state_dict"].items()}
    spec = json.loads(content[METADATA_KEY])

    def with_spec(**changes):
        return {**content, METADATA_KEY: json.dumps({**spec, **changes})}

    for name, value in {
        "backbone": weights,
        "another": with_spec(architecture="ssd300_vgg16"),
        "unknown": with_spec(architecture="yolo"),
        "labels": with_spec(labels=["a", "b", "c"]),
        "version": with_spec(spec_version=99),
        "list": [1, 2],
        "code": {METADATA_KEY: os.system},
    }.items():
        torch.save(value, folder / f"{name}.pt")
    (folder / "text.pt").write_text("no checkpoint")
    (folder / "half.pt").write_bytes(checkpoint.read_bytes()[:100_000])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["backbone", "another", "unknown", "labels", "version", "list", "code", "text", "half", "gone"]
)
@pytest.mark.parametrize("command", ["export", "eval", "inspect"])
def test_a_checkpoint_from_elsewhere(cli, command, name, other_checkpoints, data, tmp_path):
    model = other_checkpoints / f"{name}.pt"
    arguments = {
        "export": ("export", model, "-o", tmp_path / "heads.onnx"),
        "eval": ("eval", model, data),
        "inspect": ("inspect", model),
    }[command]
    line = cli(*arguments).sentence()
    if name not in {"unknown", "version"}:  # for these the sentence is about the spec
        assert f"{name}.pt" in line
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def other_onnx(tmp_path_factory):
    """Files, by name, that users may take for heads of ssd-edge."""
    folder = tmp_path_factory.mktemp("onnx")
    onnx.save(tiny_model(), folder / "no spec.onnx")
    model = tiny_model()
    helper.set_model_props(model, {METADATA_KEY: small_spec(labels=("a", "b", "c")).to_text()})
    onnx.save(model, folder / "other labels.onnx")
    value = helper.make_tensor_value_info
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "g", [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])])
    onnx.save(helper.make_model(graph, ir_version=10), folder / "other network.onnx")
    (folder / "text.onnx").write_text("no network")
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "half.onnx").write_bytes(tiny_model().SerializeToString()[:5000])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no spec", "other labels", "other network", "text", "empty", "half", "gone"])
@pytest.mark.parametrize("command", ["build-engine", "calibrate", "run", "eval", "inspect", "benchmark"])
def test_an_onnx_file_from_elsewhere(cli, command, name, other_onnx, data, pictures, tmp_path):
    model = other_onnx / f"{name}.onnx"
    arguments = {
        "build-engine": ("build-engine", model, "-o", tmp_path / "a.engine"),
        "calibrate": ("calibrate", model, data, "--force", "-o", tmp_path / "int8.onnx"),
        "run": ("run", model, "-c", pictures, *LOOP),
        "eval": ("eval", model, data),
        "inspect": ("inspect", model),
        "benchmark": ("benchmark", model, "-c", pictures),
    }[command]
    cli(*arguments).sentence(model.name)
    assert not list(tmp_path.iterdir())


def test_an_unknown_backend(cli, heads_onnx, tmp_path):
    arguments = ("build-engine", heads_onnx, "-o", tmp_path / "a.engine", "--backend", "abacus")
    cli(*arguments).sentence("abacus", "openvino, onnxruntime")


def test_an_unknown_method(cli, heads_onnx, data, tmp_path):
    cli("calibrate", heads_onnx, data, "--force", "-o", tmp_path / "a.onnx", "--method", "guess").sentence(
        "guess", "entropy"
    )


def test_an_unknown_model(cli, data, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for command in (("eval", tmp_path / "notes.txt", data), ("inspect", tmp_path / "notes.txt")):
        cli(*command).sentence("notes.txt is no model")


# A bundle with one byte changed.


@pytest.mark.parametrize("name", ["manifest.json", "heads.xml", "heads.bin"])
@pytest.mark.parametrize("command", ["run", "eval", "benchmark", "inspect"])
def test_a_bundle_with_one_byte_changed(cli, command, name, bundle, data, pictures, tmp_path):
    folder = shutil.copytree(bundle, tmp_path / "a.engine")
    content = bytearray((folder / name).read_bytes())
    content[len(content) * 2 // 3] ^= 1
    (folder / name).write_bytes(content)
    arguments = {
        "run": ("run", folder, "-c", pictures, *LOOP),
        "eval": ("eval", folder, data),
        "benchmark": ("benchmark", folder, "-c", pictures),
        "inspect": ("inspect", folder),
    }[command]
    cli(*arguments).sentence(name, "build it again with ssd-edge build-engine")


# A full disk: a limit on the size of files makes a write fail midway, as a full disk does.

LIMITED = """
import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from ssd_edge.cli.main import main
main()
"""


def limited(size, *arguments):
    pytest.importorskip("resource")
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(size), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def refused(size, *arguments):
    done = limited(size, *arguments)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("ssd-edge: ")]
    assert done.stderr.endswith(f"{line}\n")
    return line


def recorded(size, bundle, frames, *options):
    """Run for some frames on a disk that is full after ``size`` bytes: detecting goes on, and what is lost is said."""
    done = limited(size, "run", bundle, "-c", "synthetic", "--frames", frames, *LOOP, *options)
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    assert f" FPS, {frames} frames of " in done.stderr
    return done.stderr


@pytest.mark.slow
def test_a_full_disk_while_recording_json(bundle, tmp_path):
    path = tmp_path / "a.jsonl"
    said = recorded(20_000, bundle, 60, "--min-score", "0", "--save-json", path)
    assert f"output json: cannot write {path}: File too large" in said
    assert "output json: could not be written until the end" in said
    lines = path.read_text().splitlines()
    assert 1 <= len(lines) < 60
    assert [json.loads(text)["index"] for text in lines] == list(range(len(lines)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_full_disk_while_recording_a_video(bundle, tmp_path, name):
    """The part that is on the disk by then can be played."""
    path = tmp_path / name
    said = recorded(250_000, bundle, 120, "--save-video", path)
    assert f"output video: cannot write {path}: File too large; what was written until then can be played" in said
    capture = cv2.VideoCapture(str(path))
    good, image = capture.read()
    capture.release()
    assert good
    assert image.std() > 5


@pytest.mark.slow
def test_a_full_disk_while_saving_pictures(bundle, tmp_path):
    said = recorded(500, bundle, 30, "--save-images", tmp_path / "images")
    assert "output images: cannot write" in said
    assert not list((tmp_path / "images").iterdir())  # half a picture is deleted


@pytest.mark.slow
def test_a_full_disk_while_building(heads_onnx, bundle, tmp_path):
    """The old bundle stays."""
    folder = shutil.copytree(bundle, tmp_path / "a.engine")
    for backend in ("openvino", "onnxruntime"):
        refused(4000, "build-engine", heads_onnx, "-o", folder, "--backend", backend)
        load_bundle(folder).close()
        assert [path.name for path in tmp_path.iterdir()] == ["a.engine"]


@pytest.mark.slow
def test_a_full_disk_while_calibrating(heads_onnx, pictures, tmp_path):
    """The old file stays."""
    path = write_tiny(tmp_path / "int8.onnx")
    refused(4000, "calibrate", heads_onnx, pictures, "--force", "-o", path, "--no-eval")
    assert read_spec(path) == small_spec()
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]


def test_options_of_check_data_that_do_not_fit(cli, data, tmp_path):
    cli("check-data", data, "--preview", tmp_path / "a.jpg").sentence("ends with .png")
    cli("check-data", data, "--preview", tmp_path / "a.png", "--augmentation", "strong").sentence("mild, paper")
    cli("check-data", data, "--model-name", "yolo").sentence("no model is called 'yolo'", "ssd300_vgg16")
    for options in (("--box-sizes", "coco"), ("--augmentation", "paper")):
        done = cli("check-data", data, *options)
        assert (done.code, done.out) == (2, "")
        assert f"{options[0]} is for --" in done.err
    cli("train", data, "-o", tmp_path / "run", "--augmentation", "strong").sentence("augmentation must be one of")
    assert not list(tmp_path.iterdir())
