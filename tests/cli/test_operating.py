"""Operating scores per class: chosen on the command line, and kept in every kind of file."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.engines.opening import open_model, set_operating_scores
from ssd_edge.engines.proof.prove import keep_proof
from ssd_edge.graph.heads import read_proof, read_spec, write_heads
from tests.engines.proof.test_proving import scenes
from tests.helpers import small_spec
from tests.models_for_tests import marks_model


@pytest.fixture
def labelled(tmp_path):
    """Scenes with marks, labelled with the model's detections; in half of the scenes the red marks have no label."""
    root = tmp_path / "set"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    heads = tmp_path / "labeller.onnx"
    write_heads(marks_model(), small_spec(), heads)
    engine = open_model(heads)
    detect = engine.detector(0.5)
    for k, scene in enumerate(scenes(12)):
        cv2.imwrite(str(root / "images" / f"{k:02}.png"), scene)
        detections = detect(scene)
        rows = []
        for (x1, y1, x2, y2), label in zip(detections.boxes / 32, detections.labels, strict=True):
            if label == 0 or k % 2:
                rows.append(f"{label} {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}")
        (root / "labels" / f"{k:02}.txt").write_text("\n".join(rows))
    engine.close()
    (root / "data.yaml").write_text("names: [bolt, nut]\ntrain: images\n")
    return root


@pytest.fixture
def heads(tmp_path):
    path = tmp_path / "marks.onnx"
    write_heads(marks_model(), small_spec(), path)
    keep_proof(path, scenes())
    return path


def test_scores_are_chosen_printed_and_stored(cli, heads, labelled, tmp_path):
    before = read_proof(heads)
    done = cli("eval", heads, labelled, "--choose-thresholds", "precision=0.9", "--json")
    assert done.code == 0, done.err
    bolt, nut = json.loads(done.out)["operating_points"]
    assert (bolt["precision"], bolt["recall"]) == (1, 1)
    assert nut["score"] is None  # half of the red marks have no label
    assert read_spec(heads).operating_scores == {"bolt": pytest.approx(bolt["score"])}
    assert read_proof(heads) == before
    shown = cli("eval", heads, labelled, "--choose-thresholds", "recall=0.5")
    assert "shown from" in shown.out
    assert read_spec(heads).operating_scores.keys() == {"bolt", "nut"}
    unreachable = cli("eval", heads, labelled, "--choose-thresholds", "precision=0.99")
    assert "no score gives precision=0.99 for nut" in unreachable.err


@pytest.mark.slow
def test_scores_are_passed_on_to_int8_and_engine(cli, heads, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for k, scene in enumerate(scenes(40)):
        cv2.imwrite(str(pictures / f"{k:02}.png"), scene)
    scores = {"bolt": 0.99, "nut": 0.25}
    set_operating_scores(heads, read_spec(heads), scores)
    assert cli("calibrate", heads, "--images", pictures, "--no-eval").code == 0
    int8, bundle = tmp_path / "marks.int8.onnx", tmp_path / "marks.int8.engine"
    assert read_spec(int8).operating_scores == scores
    assert cli("build-engine", int8).code == 0
    assert read_manifest(bundle).spec.operating_scores == scores
    assert "shown from: bolt" in cli("inspect", bundle).out

    # Bolts have a score of 0.98: they are not shown; nuts are.
    def shown(*options):
        output = tmp_path / "found.jsonl"
        done = cli("run", bundle, "-c", pictures, "--every-frame", "--no-window", "--save-json", output, *options)
        assert done.code == 0, done.err
        lines = [json.loads(line) for line in output.read_text().splitlines()]
        return {detection["label"] for line in lines for detection in line["detections"]}

    assert shown() == {"nut"}
    assert shown("--min-score", "0.5") == {"bolt", "nut"}
    set_operating_scores(bundle, read_manifest(bundle).spec, {})
    assert shown() == {"bolt", "nut"}
    assert cli("verify", bundle).code == 0


def test_a_bundle_with_scores_of_its_own_takes_further_plans(cli, heads, tmp_path):
    bundle = tmp_path / "marks.engine"
    cli("build-engine", heads)
    set_operating_scores(bundle, read_manifest(bundle).spec, {"bolt": 0.7})
    added = cli("build-engine", heads, "--backend", "onnxruntime", "--add")
    assert added.code == 0, added.err
    assert read_manifest(bundle).spec.operating_scores == {"bolt": 0.7}


@pytest.mark.slow
def test_a_checkpoint_keeps_its_scores(cli, checkpoint, tmp_path):
    import shutil

    import torch

    path = tmp_path / "model.pt"
    shutil.copy(checkpoint, path)
    engine = open_model(path)
    set_operating_scores(path, engine.spec, {"nut": 0.4})
    again = open_model(path)
    assert again.spec.operating_scores == {"nut": 0.4}
    assert again.spec.provenance.keys() == engine.spec.provenance.keys()
    image = np.zeros((1, 3, 300, 300), np.float32)
    with torch.no_grad():
        np.testing.assert_array_equal(engine.submit(image)().loc, again.submit(image)().loc)


@pytest.mark.parametrize("text", ["0.9", "precision", "precision=2", "recall=0", "f1=0.5", "precision=x"])
def test_an_invalid_goal_is_refused(cli, heads, labelled, text):
    done = cli("eval", heads, labelled, "--choose-thresholds", text)
    assert done.code == 2
    assert "precision=0.9 or recall=0.9" in " ".join(done.err.replace("│", " ").split())
