"""The commands in the order in which a user types them, and the results of each."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest

from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.export import Agreement
from ssd_edge.files import sha256
from tests.models_for_tests import TINY_DESCRIPTION, tiny_model, write_tiny

PROGRAM = "from ssd_edge.cli.main import main; main()"


def parsed(done):
    """Parse stdout, which must be JSON and nothing else."""
    assert done.code == 0, done
    return json.loads(done.out)


@pytest.mark.slow
@pytest.mark.int8
def test_all_steps_from_a_checkpoint_to_a_running_loop(cli, checkpoint, data, pictures, tmp_path):
    """export → calibrate → build-engine → inspect → eval → run → benchmark; each takes the result of the one before."""
    onnx, int8, engine = (tmp_path / name for name in ("model.onnx", "model.int8.onnx", "model.int8.engine"))
    exported = cli("export", checkpoint, "--output", onnx, "--images", data)
    assert (exported.code, exported.out) == (0, "")
    assert "1917 default boxes, 2 classes, opset 2" in exported.err
    differences = re.search(r"difference from PyTorch on 3 images: loc (\S+), logits (\S+)", exported.err)
    assert all(0 < float(difference) < 1e-4 for difference in differences.groups())
    assert f"next: ssd-edge calibrate {onnx} DATA" in exported.err

    quantised = parsed(cli("calibrate", onnx, data, "--force", "--split", "train", "--eval-split", "val", "--json"))
    assert quantised["onnx"] == str(int8)
    assert quantised["images"] == 9
    assert 0 < quantised["quantised"] < quantised["convolutions"]
    assert quantised["fp32"]["num_images"] == quantised["int8"]["num_images"] == 3
    assert quantised["int8_engine"]["num_images"] == 3
    assert quantised["corrections"].keys() == {"equalisation", "bias_correction", "learned_rounding", "used"}
    assert all(rate > 0 for rate in quantised["speed"].values())

    built = parsed(cli("build-engine", int8, "--json"))
    assert built["plans"][0]["backend"] == "openvino"
    assert built["plans"][0]["precision"] == "INT8"
    assert built["plans"][0]["onnx_sha256"] == sha256(int8)
    assert built["provenance"]["onnx_sha256"] == sha256(onnx)

    shown = parsed(cli("inspect", engine, "--json"))
    chain = shown["spec"]["provenance"]
    assert shown["onnx_sha256"] == sha256(onnx)
    assert chain["calibration_images"] == "9"
    assert {sha256(onnx), sha256(checkpoint)} <= set(chain.values())
    assert chain["dataset"] == "none"

    numbers = [parsed(cli("eval", model, data, "--split", "val", "--json")) for model in (checkpoint, onnx, engine)]
    assert [(row["backend"], row["precision"]) for row in numbers] == [
        ("pytorch", "FP32"),
        ("exact", "FP32"),
        ("openvino", "INT8"),
    ]
    assert numbers[1]["ap"] == pytest.approx(numbers[0]["ap"], abs=1e-3)

    ran = parsed(cli("run", engine, "-c", pictures, "--every-frame", "--no-window", "--json"))
    assert (ran["processed"], ran["dropped"], ran["backend"]) == (9, 0, "openvino")
    assert set(ran["stages"]) >= {"preprocess", "inference", "decode"}

    compared = parsed(
        cli("benchmark", onnx, engine, "-c", pictures, "--frames", 10, "--warmup", 1, "--rounds", 1, "--json")
    )
    assert len(compared["engines"]) == 2
    assert compared["machine"]["threads"] >= 1


@pytest.mark.slow
def test_train(data, tmp_path):
    """One epoch: stdout is JSON, the checkpoint exists, and export takes it."""
    arguments = ["train", data, "--output", tmp_path / "run", "--epochs", "1", "--batch-size", "4", "--workers", "0"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    trained = json.loads(done.stdout)
    assert trained["epochs"] == 1
    assert trained["checkpoint"] == str(tmp_path / "run" / "model.pt")
    assert (tmp_path / "run" / "model.pt").is_file()
    assert "Warning" not in done.stderr


# Output for people.


def test_check_data(cli, data):
    done = cli("check-data", data)
    assert done.code == 0
    assert "12 usable of 12 images" in done.out
    report = parsed(cli("check-data", data, "--json"))
    assert report["images"] == report["images_kept"] == 12
    assert report["issues"] == []


def test_check_data_compares_objects_with_default_boxes(cli, data):
    """Objects are 0.31 × 0.31 of the image, for which the boxes of 0.3 × 0.3 are near enough in every place."""
    options = ("--model-name", "ssd512_vgg16")
    done = cli("check-data", data, *options)
    assert "no default box" in done.out
    assert done.out.count("0.0%") == 2
    assert parsed(cli("check-data", data, *options, "--json"))["unmatched"] == {"bolt": 0, "nut": 0}
    assert "unmatched" not in parsed(cli("check-data", data, "--json"))


def test_check_data_draws_a_preview(cli, data, tmp_path):
    done = cli("check-data", data, "--preview", tmp_path / "plate.png", "--augmentation", "paper")
    assert done.code == 0
    assert f"preview: {tmp_path / 'plate.png'}" in done.err
    assert (tmp_path / "plate.png").read_bytes().startswith(b"\x89PNG")


def test_check_data_exits_with_1_if_something_is_wrong(cli, spoilt):
    (spoilt / "labels" / "train" / "1.txt").write_text("0 0.5 0.5 0 0\n")
    done = cli("check-data", spoilt)
    assert done.code == 1
    assert "1.png" in done.out or "1.txt" in done.out
    done = cli("check-data", spoilt, "--json")
    assert done.code == 1
    assert len(json.loads(done.out)["issues"]) == 1


@pytest.mark.slow
def test_export_as_json(cli, checkpoint, heads_onnx, pictures, tmp_path, monkeypatch):
    """The export itself is replaced here, since another test runs it."""

    def export(network, target, parent):
        shutil.copyfile(heads_onnx, target)
        return network.spec.with_provenance(opset="20")

    monkeypatch.setattr("ssd_edge.export.export_onnx", export)
    monkeypatch.setattr("ssd_edge.export.compare", lambda *_: Agreement(16, 1e-6, 2e-6))
    exported = parsed(cli("export", checkpoint, "-o", tmp_path / "heads.onnx", "--images", pictures, "--json"))
    assert exported == {"onnx": str(tmp_path / "heads.onnx"), "opset": "20", "images": 16, "loc": 1e-6, "logits": 2e-6}


def test_build_engine_and_inspect(cli, heads_onnx, tmp_path):
    done = cli("build-engine", heads_onnx, "-o", tmp_path / "a.engine", "--backend", "onnxruntime")
    assert (done.code, done.out) == (0, "")
    assert "onnxruntime" in done.err
    assert f"next: ssd-edge run {tmp_path / 'a.engine'} --camera 0" in done.err
    done = cli("inspect", tmp_path / "a.engine")
    assert done.code == 0
    for word in ("bolt, nut", "32×32", "56 on", "FP32", "softmax", sha256(heads_onnx)[:16]):
        assert word in done.out


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "checkpoint", "bundle"])
def test_inspect_of_each_form(cli, form, heads_onnx, checkpoint, bundle):
    model = {"onnx": heads_onnx, "checkpoint": checkpoint, "bundle": bundle}[form]
    assert cli("inspect", model).code == 0
    assert parsed(cli("inspect", model, "--json"))["spec"]["labels"] == ["bolt", "nut"]


def test_build_engine_puts_the_bundle_beside_the_onnx_file(cli, tmp_path):
    write_tiny(tmp_path / "a.int8.onnx")
    assert cli("build-engine", tmp_path / "a.int8.onnx").code == 0
    assert read_manifest(tmp_path / "a.int8.engine").provenance["onnx"] == "a.int8.onnx"


@pytest.mark.slow
def test_import_onnx(cli, tmp_path):
    onnx.save(tiny_model(), tmp_path / "theirs.onnx")
    (tmp_path / "theirs.json").write_text(json.dumps(TINY_DESCRIPTION))
    arguments = ("import-onnx", tmp_path / "theirs.onnx", tmp_path / "theirs.json", "-o", tmp_path / "heads.onnx")
    done = cli(*arguments)
    assert (done.code, done.out) == (0, "")
    assert f"next: ssd-edge eval {tmp_path / 'heads.onnx'} DATA" in done.err
    assert parsed(cli(*arguments, "--json"))["architecture"] == "imported"
    assert parsed(cli("inspect", tmp_path / "heads.onnx", "--json"))["spec"]["std"] == [255, 255, 255]


def test_eval_shows_each_class(cli, heads_onnx, data):
    done = cli("eval", heads_onnx, data)
    assert done.code == 0
    for word in ("bolt", "nut", "AP50"):
        assert word in done.out


@pytest.mark.slow
def test_calibrate_shows_the_ap_before_and_after(cli, heads_onnx, data, tmp_path):
    done = cli("calibrate", heads_onnx, data, "--force", "-o", tmp_path / "int8.onnx", "--method", "min-max")
    assert done.code == 0
    assert "AP FP32" in done.out
    assert "AP INT8" in done.out
    assert re.search(r"distance from FP32 on calibration images: equalisation \S+ → ", done.err)
    assert "times as fast as FP32 on this CPU" in done.err
    assert f"next: ssd-edge build-engine {tmp_path / 'int8.onnx'}" in done.err


@pytest.mark.slow
def test_calibrate_keeps_a_contract(cli, heads_onnx, data, tmp_path):
    output = tmp_path / "int8.onnx"
    arguments = ("calibrate", heads_onnx, data, "--force", "-o", output, "--max-drop")
    kept = parsed(cli(*arguments, "100", "--json"))
    contract = kept["contract"]
    assert contract["met"]
    assert contract["best"] in contract["trials"]
    assert contract["best"]["ap"] == pytest.approx(100 * kept["int8"]["ap"])
    assert contract["fp32_ap"] == pytest.approx(100 * kept["fp32"]["ap"])
    shown = cli("inspect", output)
    assert "the budget of 100 points holds" in " ".join(shown.out.split())

    before = output.read_bytes()
    table = cli(*arguments, "100")
    assert "AP lost" in table.out
    assert "the budget of 100 points holds" in table.err
    assert output.read_bytes() == before  # the same file, byte by byte

    refused = cli(*arguments, "0.1", "--no-eval")
    assert refused.code == 2
    assert "--max-drop needs DATA" in refused.err


@pytest.mark.slow
def test_calibrate_with_a_folder_of_pictures(cli, heads_onnx, pictures, tmp_path):
    done = cli("calibrate", heads_onnx, pictures, "--force", "-o", tmp_path / "int8.onnx", "--no-eval")
    assert (done.code, done.out) == (0, "")


@pytest.mark.slow
def test_calibrate_with_a_video_and_then_with_its_scales(cli, heads_onnx, tmp_path):
    video, names = tmp_path / "clip.avi", ("int8.onnx", "again.onnx", "third.onnx")
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for k in range(60):
        writer.write(np.random.default_rng(k).integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    outputs = [tmp_path / name for name in names]
    scales, cache = tmp_path / "scales.json", tmp_path / "model.cache"
    # A file made from given scales has uncorrected biases, since biases are not among the scales.
    files = ("--save-scales", scales, "--cache", cache, "--cache-for", "8.6.1", "--no-bias-correction")
    done = cli("calibrate", heads_onnx, "--images", video, "--num-images", 40, "-o", outputs[0], "--no-eval", *files)
    assert (done.code, done.out) == (0, "")
    assert "8 of 8 convolutions in INT8, mse over 40 images" in done.err
    assert cache.read_text().startswith("TRT-8601-EntropyCalibration2\nimage: ")

    for output, given in zip(outputs[1:], (scales, cache), strict=True):
        done = parsed(cli("calibrate", heads_onnx, "--scales", given, "-o", output, "--no-eval", "--json"))
        assert (done["method"], done["images"]) == ("given", 0)
        models = [onnx.load(path) for path in (outputs[0], output)]
        for model in models:
            del model.metadata_props[:]
        assert models[0] == models[1]


@pytest.mark.slow
def test_calibrate_names_missing_classes(cli, heads_onnx, spoilt, tmp_path):
    for path in (spoilt / "labels").rglob("*.txt"):
        path.write_text("0" + path.read_text()[1:])
    done = cli("calibrate", heads_onnx, spoilt, "--force", "-o", tmp_path / "int8.onnx", "--no-eval")
    assert done.code == 0
    assert "no image to calibrate with shows nut" in done.err


@pytest.mark.slow
def test_calibrate_goes_on_after_an_interruption(cli, heads_onnx, pictures, tmp_path, monkeypatch):
    from ssd_edge.calibration.scales import state

    output, left = tmp_path / "int8.onnx", tmp_path / "int8.onnx.partial"
    arguments = ("calibrate", heads_onnx, pictures, "--force", "-o", output, "--no-eval")
    monkeypatch.setattr(state, "SECONDS_BETWEEN", 0.0)
    with monkeypatch.context() as patch:
        # All nine are read once for the corrections, and then once more.
        patch.setattr("ssd_edge.data.images.read_image", stopping_after(9 + 5))
        assert cli(*arguments).code == 130
    assert left.is_file()
    assert not output.exists()
    kept = left.read_bytes()
    done = cli(*arguments)
    assert done.code == 0
    assert "went on where an interrupted calibration stopped, after 5 images" in done.err
    assert "over 9 images" in done.err
    assert not left.exists()

    left.write_bytes(kept)
    assert "went on" not in cli(*arguments, "--fresh").err
    left.write_bytes(kept)
    done = cli(*arguments, "--num-images", 7)
    assert "another model, other images or options: begun anew" in done.err


def stopping_after(number):
    """Return a read_image that raises Ctrl-C after so many images."""
    from ssd_edge.data.dataset import read_image

    left = iter([None] * number)

    def read(path):
        if next(left, "none") == "none":
            raise KeyboardInterrupt
        return read_image(path)

    return read


@pytest.mark.slow
def test_check_onnx_names_what_would_become_int8_and_what_prevents_it(cli, heads_onnx, pictures, tmp_path):
    int8, spoilt = tmp_path / "int8.onnx", tmp_path / "spoilt.onnx"
    done = cli("check-onnx", heads_onnx)
    assert (done.code, done.err) == (0, "")
    assert "FP32, 0 of 8 convolutions in INT8" in done.out
    assert "ssd-edge calibrate would make 8 of them INT8" in done.out

    assert cli("calibrate", heads_onnx, pictures, "--force", "-o", int8, "--no-eval").code == 0
    assert "8 of 8 convolutions in INT8\nnothing found" in cli("check-onnx", int8).out

    model = onnx.load(int8)
    (zero,) = [tensor for tensor in model.graph.initializer if tensor.name == "ssd_edge_zero_point"]
    zero.CopyFrom(onnx.numpy_helper.from_array(np.int8(3), zero.name))
    onnx.save(model, spoilt)
    done = cli("check-onnx", spoilt)
    assert done.code == 1
    assert "error: QuantizeLinear 'image_QuantizeLinear' has the zero point 3" in done.out
    done = cli("check-onnx", spoilt, "--json")
    assert done.code == 1
    assert json.loads(done.out)["findings"][0]["gravity"] == "error"


# Exit codes and streams.


@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_ctrl_c_elsewhere_ends_with_130(cli, monkeypatch, heads_onnx, debug):
    def interrupted(path, note):
        raise KeyboardInterrupt

    monkeypatch.setattr("ssd_edge.engines.opening.open_model", interrupted)
    done = cli("eval", heads_onnx, "data", *debug)
    assert done == (130, "", "ssd-edge: interrupted\n")


@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_the_traceback(cli, tmp_path, before):
    arguments = ("inspect", tmp_path / "none.onnx")
    done = cli("--debug", *arguments) if before else cli(*arguments, "--debug")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Traceback (most recent call last)")
    assert "ModelError" in done.err
    assert done.err.splitlines()[-1].startswith("ssd-edge: there is no file ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("eval",),
        ("eval", "only-one"),
        ("run", "a.engine", "--no-such-option"),
        ("run", "a.engine", "--min-score", "2"),
        ("run", "a.engine", "--frames", "many"),
        ("run", "a.engine", "--json", "--save-json", "-"),
        ("train", "data", "--epochs", "0"),
        ("benchmark", "a.engine", "--frames", "1"),
    ],
)
def test_a_usage_error_ends_with_2(cli, arguments):
    done = cli(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Usage:" in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_the_installed_program_is_the_same(heads_onnx):
    """One command runs in a separate process; stdout and stderr get the right output."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "inspect", heads_onnx, "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["precision"] == "FP32"
    assert done.stderr == ""


@pytest.mark.slow
def test_calibrate_writes_a_report(cli, heads_onnx, data, tmp_path):
    files = tmp_path / "int8.onnx", tmp_path / "report.html"
    done = cli("calibrate", heads_onnx, data, "--force", "-o", files[0], "--report", files[1])
    assert done.code == 0, done.err
    assert f"{files[1]}: the report, and report.json beside it" in done.err
    facts = json.loads((tmp_path / "report.json").read_text())
    assert facts["command"].startswith("ssd-edge calibrate ")
    assert len(facts["pictures"]) == 9  # those of train
    assert len(facts["sensitivities"]) == facts["num_int8"] == 8
    assert "Average precision" in files[1].read_text()
    assert cli("calibrate", heads_onnx, data, "--report", tmp_path / "report.txt").code == 2


def test_selftest_without_a_gpu(cli, heads_onnx, tmp_path, pictures):
    folder = tmp_path / "results"
    sections = ("--only", "kernels", "--only", "decode-forms")
    done = cli("selftest", heads_onnx, "--images", pictures, "-o", folder, *sections, "--json")
    report = parsed(done)
    assert report["counts"] == {"passed": 0, "failed": 0, "not run": 2}
    assert "needs a GPU" in report["sections"][0]["sentence"]
    assert json.loads((folder / "selftest.json").read_text())["counts"] == report["counts"]
    assert f"{folder}: the results; open {folder / 'selftest.html'}" in done.err
    wrong = cli("selftest", heads_onnx, "--only", "magic", "-o", folder)
    assert wrong.code == 2
    assert "no section is called 'magic'" in wrong.err


def test_selftest_that_fails(cli, heads_onnx, tmp_path, pictures, monkeypatch):
    from ssd_edge.engines.selftest import engines

    monkeypatch.setattr(engines, "agreement", lambda wanted, detected: {"compared": 10, "alike": 0.5})
    done = cli("selftest", heads_onnx, "--images", pictures, "-o", tmp_path / "results", "--only", "cpu")
    assert done.code == 1
    assert "failed   cpu: OpenVINO in FP32 agrees on 50.0 % of detections, below 99 %" in done.err
