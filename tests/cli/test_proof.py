"""The proof on the command line: stored, left out, checked."""

from __future__ import annotations

import json

import cv2
import pytest

from ssd_edge.engines import backends
from ssd_edge.graph.heads import read_proof, write_heads
from ssd_edge.proof import Proof
from tests.engines.proof.test_proving import FAULTS, faulty, scenes
from tests.helpers import Chosen, small_spec
from tests.models_for_tests import marks_model


@pytest.fixture(scope="module")
def marks(tmp_path_factory):
    """Folder of pictures with marks; tests must not write to it."""
    folder = tmp_path_factory.mktemp("marks")
    for k, scene in enumerate(scenes(40)):
        cv2.imwrite(str(folder / f"{k:02}.png"), scene)
    return folder


@pytest.fixture
def foreign(tmp_path):
    """Raw heads trained elsewhere, and their description."""
    import onnx

    onnx.save(marks_model(), tmp_path / "raw.onnx")
    (tmp_path / "raw.json").write_text(
        json.dumps({k: v for k, v in small_spec().to_json().items() if k != "provenance"})
    )
    return tmp_path / "raw.onnx", tmp_path / "raw.json"


@pytest.mark.slow
def test_all_steps_with_a_proof(cli, foreign, marks, tmp_path):
    heads = tmp_path / "heads.onnx"
    imported = cli("import-onnx", *foreign, "-o", heads, "--images", marks)
    assert imported.code == 0, imported.err
    assert "its proof: " in imported.err
    calibrated = cli("calibrate", heads, "--images", marks, "--no-eval")
    assert calibrated.code == 0, calibrated.err
    assert "detections in 8 images, by which engines are checked" in calibrated.err
    int8 = tmp_path / "heads.int8.onnx"
    assert Proof.unpack(read_proof(int8), small_spec()).counted > 8
    assert read_proof(int8) != read_proof(heads)
    built = cli("build-engine", int8)
    assert built.code == 0, built.err
    assert "proof holds: " in built.err
    verified = cli("verify", tmp_path / "heads.int8.engine", "--json")
    assert verified.code == 0
    (plan,) = json.loads(verified.out)["plans"]
    assert (plan["status"], plan["precision"], plan["agreement"]["images"]) == ("right", "INT8", 8)
    ran = cli(
        "run", tmp_path / "heads.int8.engine", "--camera", marks, "--every-frame", "--no-window", "--verify", "--json"
    )
    assert ran.code == 0, ran.err
    assert "verified: " in ran.err


@pytest.mark.slow
def test_no_proof_is_stored_with_the_option(cli, foreign, marks, tmp_path):
    heads = tmp_path / "heads.onnx"
    assert cli("import-onnx", *foreign, "-o", heads, "--no-proof").code == 0
    assert read_proof(heads) == b""
    # The INT8 file has none either, although there are images.
    calibrated = cli("calibrate", heads, "--images", marks, "--no-eval")
    assert "no proof is kept in heads.int8.onnx, as heads.onnx was made with --no-proof" in calibrated.err
    assert read_proof(tmp_path / "heads.int8.onnx") == b""
    built = cli("build-engine", tmp_path / "heads.int8.onnx")
    assert built.code == 0
    assert "proof none: heads.int8.onnx carries none, or was made with --no-proof" in built.err
    cli("verify", tmp_path / "heads.int8.engine").sentence("no plan of", "could be checked here")
    cli("run", tmp_path / "heads.int8.engine", "--camera", marks, "--no-window", "--verify").sentence("without a proof")


@pytest.mark.slow
def test_calibrate_without_images_takes_the_pictures_of_the_fp32_heads(cli, foreign, marks, tmp_path):
    heads, scales = tmp_path / "heads.onnx", tmp_path / "scales.json"
    cli("import-onnx", *foreign, "-o", heads, "--images", marks)
    cli("calibrate", heads, "--images", marks, "--no-eval", "--save-scales", scales, "-o", tmp_path / "a.onnx")
    again = cli("calibrate", heads, "--scales", scales, "--no-eval", "-o", tmp_path / "b.onnx")
    assert again.code == 0, again.err
    wanted, stored = (Proof.unpack(read_proof(path), small_spec()) for path in (heads, tmp_path / "b.onnx"))
    assert sorted(image.tobytes() for image in wanted.images) == sorted(image.tobytes() for image in stored.images)


@pytest.mark.slow
def test_pictures_without_detections_are_reported(cli, foreign, tmp_path):
    imported = cli("import-onnx", *foreign, "-o", tmp_path / "heads.onnx")
    assert imported.code == 0
    proof = Proof.unpack(read_proof(tmp_path / "heads.onnx"), small_spec())
    assert (proof.counted == 0) == ("its proof shows nothing: the model is sure of nothing" in imported.err)


@pytest.mark.slow
def test_export_stores_a_proof(cli, checkpoint, pictures, tmp_path):
    kept = cli("export", checkpoint, "-o", tmp_path / "a.onnx", "--images", pictures)
    assert kept.code == 0, kept.err
    assert "its proof" in kept.err
    assert read_proof(tmp_path / "a.onnx")
    assert cli("export", checkpoint, "-o", tmp_path / "b.onnx", "--no-proof").code == 0
    assert read_proof(tmp_path / "b.onnx") == b""


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported(cli, marks, tmp_path, monkeypatch, fault):
    from ssd_edge.engines.proof.prove import keep_proof

    heads, bundle = tmp_path / "heads.onnx", tmp_path / "heads.engine"
    write_heads(marks_model(), small_spec(), heads)
    keep_proof(heads, scenes())
    assert cli("build-engine", heads).code == 0
    change, stage = FAULTS[fault]
    monkeypatch.setitem(backends.BACKENDS, "openvino", Chosen(lambda: faulty(change)))
    cli("build-engine", heads, "-o", tmp_path / "b.engine").sentence("does not find what its model's proof says", stage)
    assert not (tmp_path / "b.engine").exists()
    verified = cli("verify", bundle)
    assert verified.code == 1
    assert verified.err.startswith("wrong   openvino FP32: ")
    cli("run", bundle, "--camera", marks, "--no-window", "--verify").sentence(stage)
    assert cli("run", bundle, "--camera", marks, "--no-window").code == 0  # only --verify checks


def test_verify_needs_a_bundle(cli, foreign, tmp_path):
    cli("verify", tmp_path / "nothing.engine").sentence("is not there, so it is no engine bundle")
    cli("verify", foreign[0]).sentence("is no folder, so it is no engine bundle")
