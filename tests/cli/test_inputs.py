"""``--input``, ``--box-sizes fit`` and ``check-data --boxes``, and all steps with a network of 320×192."""

from __future__ import annotations

import json
import re
from importlib import util

import cv2
import pytest

from ssd_edge.data.synthetic_dataset import write_dataset
from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.graph.heads import read_spec
from ssd_edge.models.registry import make_spec


def test_check_data_draws_default_boxes(cli, data, tmp_path):
    path, name = tmp_path / "boxes.png", "ssdlite300_mobilenet_v2"
    done = cli("check-data", data, "--model-name", name, "--boxes", path, "--input", "320x192", "--box-sizes", "fit")
    assert done.code == 0, done.err
    line = done.out.splitlines()[-1]
    assert line.startswith("of 12 objects, ")
    assert "no other sizes were found that match more, so the published ones stay" in line
    assert "of ssdlite300_mobilenet_v2 at 320x192 with an IoU of 0.5 or more" in line
    assert "no default box" in done.out.splitlines()[2]
    assert done.err == f"default boxes: {path}\n"
    assert cv2.imread(str(path)) is not None
    report = json.loads(cli("check-data", data, "--boxes", path, "--model-name", "ssd300_vgg16", "--json").out)
    facts = report["default_boxes"]
    assert (facts["model"], facts["input"], facts["fitted"], facts["objects"]) == ("ssd300_vgg16", "300x300", False, 12)
    assert facts["share_unmatched"] == facts["share_unmatched_published"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", "500x280"], "the nearest are 512x288, 480x288, 512x256, 480x256"),
        (["--input", "wide"], "a size is WIDTHxHEIGHT in pixels, such as 512x288, but got"),
        (["--model-name", "yolo"], "no model is called 'yolo'"),
        (["--boxes", "data.yaml/boxes.png"], "cannot write data.yaml/boxes.png: "),
    ],
)  # fmt: skip
def test_boxes_that_cannot_be_drawn(cli, data, arguments, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.yaml").write_text("")
    name = [] if "--model-name" in arguments else ["--model-name", "ssdlite300_mobilenet_v2"]
    cli("check-data", data, "--boxes", "boxes.png", *name, *arguments).sentence(words)
    assert [path.name for path in tmp_path.iterdir()] == ["data.yaml"]


@pytest.mark.parametrize("option", ["--input", "--box-sizes", "--boxes"])
def test_options_of_a_network_need_its_name(cli, data, option):
    done = cli("check-data", data, option, "coco")
    assert done.code == 2
    assert f"{option} is for --model-name" in " ".join(re.sub("[│╭╮╰╯─]", " ", done.err).split())


def test_train_refuses_an_input_in_one_sentence(cli, data, tmp_path):
    pytest.importorskip("torch")
    arguments = ("train", data, "-o", tmp_path / "run", "--input")
    cli(*arguments, "512x280").sentence("but got 512x280: the nearest are 512x288, 512x256")
    cli(*arguments, "512x288", "--model", "ssd300_vgg16").sentence(
        "the nearest is 300x300, or train ssdlite300_mobilenet_v2"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_all_steps_with_a_wide_input(cli, tmp_path):
    """train → export → calibrate → build-engine (OpenVINO, and TensorRT-RTX's compiler) → run, on rendered scenes."""
    pytest.importorskip("torch")
    data, out, onnx = tmp_path / "data", tmp_path / "run", tmp_path / "wide.onnx"
    write_dataset(data, images=10, seed=0)
    short = ("--epochs", 1, "--batch-size", 4, "--workers", 0, "--frozen-blocks", 14)
    trained = cli("train", data, "--input", "320x192", "--box-sizes", "fit", *short, "-o", out)
    assert trained.code == 0, trained.err
    assert "at 320x192 with an IoU of 0.5 or more; " in trained.err
    assert (out / "boxes.png").is_file()

    exported = cli("export", out / "model.pt", "--output", onnx, "--images", data, "--no-proof")
    assert exported.code == 0, exported.err
    assert "1224 default boxes" in exported.err  # 20·12·3 + (10·6 + 5·3 + 3·2 + 2·1 + 1·1)·6
    differences = re.search(r"difference from PyTorch on \d+ images: loc (\S+), logits (\S+)", exported.err)
    assert all(float(value) < 1e-4 for value in differences.groups())
    plain = ("--force", "--no-eval", "--no-bias-correction", "--no-equalisation", "--no-proof")
    calibrated = cli("calibrate", onnx, data, *plain)
    assert calibrated.code == 0, calibrated.err

    has_rtx = util.find_spec("tensorrt_rtx") is not None
    rtx = ("--backend", "tensorrt-rtx", "--compute-capability", "8.6") if has_rtx else ()
    backends = {"openvino", *(["tensorrt-rtx"] if has_rtx else [])}
    engine = tmp_path / "wide.int8.engine"
    built = cli("build-engine", tmp_path / "wide.int8.onnx", "--backend", "openvino", *rtx, "--output", engine)
    assert built.code == 0, built.err
    manifest = read_manifest(engine)
    assert {plan.backend for plan in manifest.plans} == backends
    assert manifest.spec.input_size == (192, 320)
    assert manifest.spec.levels == read_spec(onnx).levels != make_spec(manifest.spec.architecture, ["a"]).levels

    seen = json.loads(cli("run", engine, "--camera", "synthetic", "--frames", 3, "--no-window", "--json").out)
    assert seen["processed"] == 3
