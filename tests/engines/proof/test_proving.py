"""Engines and their proofs: right engines are written, and build, verify and run each catch a planted fault."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import types
from contextlib import closing
from dataclasses import replace

import numpy as np
import onnx
import pytest

from ssd_edge.calibration.closest import calibrate_closest
from ssd_edge.calibration.job import Job
from ssd_edge.data.images import preprocessed
from ssd_edge.engines import backends, openvino
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.engines.cpu import weight_bits
from ssd_edge.engines.cpu.exact import open_exact
from ssd_edge.engines.opening import open_model, proof_for
from ssd_edge.engines.proof.prove import keep_proof, prove
from ssd_edge.engines.proof.verify import verify_bundle
from ssd_edge.errors import BundleError, BundleIntegrityError, DisagreementError, MissingDependencyError, ProofError
from ssd_edge.graph.heads import add_proof, read_proof, write_heads
from ssd_edge.machine import instructions
from ssd_edge.proof import Proof, check
from tests.helpers import Chosen, sentence, small_spec
from tests.models_for_tests import marks_model, marks_scene

pytestmark = pytest.mark.int8

SPEC = small_spec()


def scenes(number=12):
    """Pictures of one to four marks."""
    rng = np.random.default_rng(0)
    for k in range(number):
        cells = rng.permutation(16)[: 1 + k % 4]
        yield marks_scene(*((int(c) // 4, int(c) % 4, int(rng.choice([0, 2]))) for c in cells))


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """FP32 and INT8 heads with their proofs; nobody writes to them."""
    folder = tmp_path_factory.mktemp("marks")
    fp32, int8 = folder / "marks.onnx", folder / "marks.int8.onnx"
    write_heads(marks_model(), SPEC, fp32)
    keep_proof(fp32, scenes())
    calibrate_closest(Job(fp32, lambda: preprocessed(list(scenes()), SPEC), SPEC), int8)
    assert read_proof(int8) is None  # the FP32 heads' is not its own
    keep_proof(int8, scenes())
    return {"FP32": fp32, "INT8": int8}


def faulty(change):
    """OpenVINO's backend with a fault: ``change`` gets each engine that it loads, and may break it."""

    def load(folder, plan, spec):
        engine = openvino.load(folder, plan, spec)
        change(engine)
        return engine

    return types.SimpleNamespace(**{**vars(openvino), "load": load})


def _saturates(engine):
    """Imitate saturating 16-bit sums: large values become a little smaller."""
    inner = engine.submit

    def submit(images):
        finish = inner(images)
        return lambda: (lambda raw: raw._replace(logits=np.minimum(raw.logits, np.float32(8.4))))(finish())

    engine.submit = submit


def _swaps_channels(engine):
    inner = engine.submit
    engine.submit = lambda images: inner(np.ascontiguousarray(images[:, ::-1]))


def _in_detector(change):
    def spoil(engine):
        inner = engine.detector

        def detector(*arguments):
            made = inner(*arguments)
            change(made._decode)
            return made

        engine.detector = detector

    return spoil


def _shifts_boxes(decode):
    decode.defaults = decode.defaults + np.asarray([0.03, 0, 0, 0], np.float32)


def _doubles_variances(decode):
    decode.spec = replace(decode.spec, variances=(0.2, 0.4))


FAULTS = {
    "a saturating engine": (_saturates, "its network is at fault"),
    "swapped channels": (_swaps_channels, "its network is at fault"),
    "a shifted default box": (_in_detector(_shifts_boxes), "its preprocess or decode is at fault"),
    "wrong variances": (_in_detector(_doubles_variances), "its preprocess or decode is at fault"),
}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["FP32", "INT8"])
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_right_engine_is_written_and_says_so(heads, tmp_path, backend, precision):
    folder = tmp_path / "marks.engine"
    (plan,) = build_bundle(heads[precision], folder, backend).plans
    assert plan.facts["proof"].startswith(tuple("123456789"))
    assert "detections in 8 images match" in plan.facts["proof"]
    assert (folder / plan.proof).is_file()
    assert plan.proof in read_manifest(folder).sha256
    (result,) = verify_bundle(folder)
    assert (result.status, result.agreement.share) == ("right", 1.0)
    with closing(load_bundle(folder)) as engine:
        assert prove(engine, proof_for(folder, engine)).matched == result.agreement.counted > 8


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["FP32", "INT8"])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_engine_with_a_fault_is_not_written(heads, tmp_path, monkeypatch, fault, precision):
    change, stage = FAULTS[fault]
    monkeypatch.setitem(backends.BACKENDS, "openvino", Chosen(lambda: faulty(change)))
    with pytest.raises(DisagreementError, match=stage) as error:
        build_bundle(heads[precision], tmp_path / "marks.engine", "openvino")
    said = sentence(error)
    assert f"openvino {precision} engine does not find what its model's proof says" in said
    assert "of" in said
    assert "% are needed" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_comes_later_is_found_by_verify_and_run(heads, tmp_path, monkeypatch, fault):
    folder = tmp_path / "marks.engine"
    build_bundle(heads["FP32"], folder, "openvino")
    monkeypatch.setitem(backends.BACKENDS, "openvino", Chosen(lambda: faulty(FAULTS[fault][0])))
    (result,) = verify_bundle(folder)
    assert (result.status, result.agreement) == ("wrong", None)
    assert FAULTS[fault][1] in result.reason
    with closing(load_bundle(folder)) as engine, pytest.raises(DisagreementError):
        prove(engine, proof_for(folder, engine))


def test_an_older_bundle_of_that_name_stays(heads, tmp_path, monkeypatch):
    folder = tmp_path / "marks.engine"
    before = build_bundle(heads["FP32"], folder, "openvino")
    monkeypatch.setitem(backends.BACKENDS, "openvino", Chosen(lambda: faulty(_saturates)))
    with pytest.raises(DisagreementError):
        build_bundle(heads["FP32"], folder, "openvino")
    assert read_manifest(folder) == before


def test_one_backend_that_is_wrong_keeps_all_from_being_written(heads, tmp_path, monkeypatch):
    monkeypatch.setitem(backends.BACKENDS, "openvino", Chosen(lambda: faulty(_saturates)))
    with pytest.raises(DisagreementError):
        build_bundle(heads["FP32"], tmp_path / "marks.engine", "onnxruntime", "openvino")
    assert list(tmp_path.iterdir()) == []


def test_each_plan_has_the_proof_of_its_own_heads(heads, tmp_path):
    folder = tmp_path / "marks.engine"
    build_bundle(heads["FP32"], folder, "onnxruntime")
    built = build_bundle(heads["INT8"], folder, "openvino", add=True)
    assert len({plan.proof for plan in built.plans}) == 2
    assert [one.status for one in verify_bundle(folder)] == ["right", "right"]


def test_a_plan_that_cannot_run_here_is_written_unproved(heads, tmp_path, monkeypatch):
    elsewhere = types.SimpleNamespace(**{**vars(openvino), "incompatibility": lambda plan: "needs an abacus"})
    monkeypatch.setitem(backends.BACKENDS, "openvino", Chosen(lambda: elsewhere))
    (plan,) = build_bundle(heads["FP32"], tmp_path / "marks.engine", "openvino").plans
    assert plan.facts["proof"] == "not run: on this machine the plan needs an abacus"
    (result,) = verify_bundle(tmp_path / "marks.engine")
    assert (result.status, result.reason) == ("not run", "on this machine it needs an abacus")


def test_without_a_proof_the_build_says_so(heads, tmp_path):
    bare = tmp_path / "bare.onnx"
    write_heads(marks_model(), SPEC, bare)
    add_proof(bare, None)
    (plan,) = build_bundle(bare, tmp_path / "bare.engine", "openvino").plans
    assert plan.facts["proof"] == "none: bare.onnx carries none, or was made with --no-proof"
    assert plan.proof == ""
    (result,) = verify_bundle(tmp_path / "bare.engine")
    assert result.status == "not run"
    assert "without --no-proof" in result.reason


def test_a_model_without_confident_detections(tmp_path):
    path = tmp_path / "dark.onnx"
    write_heads(marks_model(), SPEC, path)
    keep_proof(path, [marks_scene()])
    (plan,) = build_bundle(path, tmp_path / "dark.engine", "openvino").plans
    assert plan.facts["proof"].startswith("none: the model is sure of nothing in the proof's images")
    with (
        closing(load_bundle(tmp_path / "dark.engine")) as engine,
        pytest.raises(ProofError, match="sure of nothing"),
    ):
        prove(engine, proof_for(tmp_path / "dark.engine", engine))


def test_the_proof_of_another_model(heads, tmp_path):
    """Another model with the same geometry and classes, which detects other things."""
    model = marks_model()
    for tensor in model.graph.initializer:
        if tensor.name == "cells.sum.weight":
            swapped = onnx.numpy_helper.to_array(tensor)[::-1].copy()
            tensor.CopyFrom(onnx.numpy_helper.from_array(swapped, tensor.name))
    other = tmp_path / "other.onnx"
    write_heads(model, SPEC, other)
    add_proof(other, Proof.unpack(read_proof(heads["FP32"]), SPEC))
    with pytest.raises(
        ProofError, match=r"the proof in other\.onnx belongs to other heads: export or calibrate"
    ) as error:
        build_bundle(other, tmp_path / "other.engine", "openvino")
    assert not isinstance(error.value, DisagreementError)
    sentence(error)


def test_a_proof_of_a_model_of_another_size(heads, tmp_path):
    spec = small_spec(input_size=(64, 64))
    other = tmp_path / "other.onnx"
    from tests.models_for_tests import tiny_model

    write_heads(tiny_model(SPEC), SPEC, other)
    add_proof(other, Proof.unpack(read_proof(heads["FP32"]), SPEC))
    with pytest.raises(ProofError, match="64×64"):
        Proof.unpack(read_proof(other), spec)


@pytest.mark.parametrize("text", ["no base64!", "AAAA"])
def test_entries_that_are_no_proof(heads, tmp_path, text):
    model = onnx.load(heads["FP32"])
    onnx.helper.set_model_props(
        model, {entry.key: entry.value for entry in model.metadata_props} | {"ssd_edge.proof": text}
    )
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ProofError, match="cannot be read") as error:
        build_bundle(tmp_path / "x.onnx", tmp_path / "x.engine", "openvino")
    sentence(error)
    assert not (tmp_path / "x.engine").exists()


def test_a_proof_that_was_altered_in_the_bundle(heads, tmp_path):
    folder = tmp_path / "marks.engine"
    (plan,) = build_bundle(heads["FP32"], folder, "openvino").plans
    (folder / plan.proof).write_bytes(b"nothing")
    with pytest.raises(BundleIntegrityError, match="was altered after it was built"):
        list(verify_bundle(folder))


def test_a_bundle_of_an_earlier_release_has_no_proof(heads, tmp_path):
    folder = tmp_path / "marks.engine"
    build_bundle(heads["FP32"], folder, "openvino")
    from tests.engines.bundle.test_bundle import rewrite

    def change(content):
        (plan,) = content["plans"]
        del content["sha256"][plan.pop("proof")]

    rewrite(folder, change)
    load_bundle(folder).close()
    (result,) = verify_bundle(folder)
    assert result.status == "not run"


def test_heads_and_checkpoints_can_be_proved_too(heads, tmp_path):
    with closing(open_model(heads["INT8"])) as engine:
        assert prove(engine, proof_for(heads["INT8"], engine)).holds
    shutil.copy(heads["FP32"], tmp_path / "bare.onnx")
    add_proof(tmp_path / "bare.onnx", None)
    with closing(open_model(tmp_path / "bare.onnx")) as engine, pytest.raises(ProofError, match="carries no proof"):
        proof_for(tmp_path / "bare.onnx", engine)


def test_the_proof_is_the_files_own_and_exact(heads):
    """Each file's proof holds exactly for its own heads."""
    for path in heads.values():
        exact = open_exact(path, SPEC)
        with closing(exact):
            agreement = check(exact, Proof.unpack(read_proof(path), SPEC), exact.precision)
        assert (agreement.share, agreement.extra) == (1.0, 0)
        assert agreement.largest_difference <= 1e-5


def test_results_can_be_printed(heads, tmp_path):
    build_bundle(heads["FP32"], tmp_path / "marks.engine", "openvino")
    (result,) = verify_bundle(tmp_path / "marks.engine")
    content = json.loads(json.dumps(result.to_json()))
    assert (content["status"], content["agreement"]["holds"]) == ("right", True)


# Moved to a processor of another kind.


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Make this processor look like another kind; the user's cache lies in the test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda kind="riscv64, none": monkeypatch.setattr(instructions, "kind", lambda host: kind)


@pytest.mark.slow
def test_a_bundle_that_moved_is_proved_once(heads, tmp_path, elsewhere):
    folder, said = tmp_path / "marks.engine", []
    build_bundle(heads["INT8"], folder, "openvino")
    load_bundle(folder, said.append).close()
    assert said == []  # nothing has moved
    elsewhere()
    load_bundle(folder, said.append).close()
    assert len(said) == 1
    assert "was built on another kind of processor" in said[0]
    assert "its proof holds: " in said[0]
    load_bundle(folder, said.append).close()
    assert len(said) == 1
    elsewhere("riscv64, some")
    load_bundle(folder, said.append).close()
    assert len(said) == 2


@pytest.mark.slow
def test_a_bundle_that_moved_and_is_wrong_there_does_not_open(heads, tmp_path, monkeypatch, elsewhere):
    folder = tmp_path / "marks.engine"
    build_bundle(heads["INT8"], folder, "openvino")
    elsewhere()
    monkeypatch.setitem(backends.BACKENDS, "openvino", Chosen(lambda: faulty(_saturates)))
    for _ in range(2):  # a failed proof is not remembered as a success
        with pytest.raises(DisagreementError, match=r"build it again here, from marks\.int8\.onnx") as error:
            load_bundle(folder)
        sentence(error)


@pytest.mark.parametrize("marks", [True, False])
def test_a_bundle_that_moved_and_cannot_be_proved_says_so(tmp_path, elsewhere, marks):
    path, said = tmp_path / "bare.onnx", []
    write_heads(marks_model(), SPEC, path)
    if marks:
        keep_proof(path, [marks_scene()])
    build_bundle(path, tmp_path / "bare.engine", "openvino")
    elsewhere()
    load_bundle(tmp_path / "bare.engine", said.append).close()
    assert len(said) == 1
    assert ("its proof shows nothing" if marks else "has no proof to be checked by") in said[0]


@pytest.mark.slow
def test_where_nothing_can_be_remembered_it_is_proved_each_time(heads, tmp_path, monkeypatch, elsewhere):
    folder, said = tmp_path / "marks.engine", []
    build_bundle(heads["INT8"], folder, "openvino")
    elsewhere()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for number in (1, 2):
        load_bundle(folder, said.append).close()
        assert len(said) == number


# A processor that lies about its instructions: weights of 7 bits are tried where 8 are wrong.


@pytest.mark.slow
def test_seven_bits_are_taken_where_eight_disagree(heads, tmp_path, monkeypatch):
    def build(onnx, *rest):
        build.bits = 7 if any(t.name.endswith("_7bit") for t in load(onnx).graph.initializer) else 8
        return openvino.build(onnx, *rest)

    def spoil(engine):
        if build.bits == 8:
            _saturates(engine)

    load = onnx.load
    module = faulty(spoil)
    module.build = build
    monkeypatch.setitem(backends.BACKENDS, "openvino", Chosen(lambda: module))
    monkeypatch.setattr(weight_bits, "bits_to_try", lambda host: (8, 7))
    (plan,) = build_bundle(heads["INT8"], tmp_path / "marks.engine", "openvino").plans
    assert plan.facts["weight_bits"].startswith("7, ")
    assert "match" in plan.facts["proof"]
    monkeypatch.setattr(weight_bits, "bits_to_try", lambda host: (8,))
    with pytest.raises(DisagreementError):
        build_bundle(heads["INT8"], tmp_path / "other.engine", "openvino")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_seven_bits_by_choice_are_right_and_said(heads, tmp_path, monkeypatch, backend):
    monkeypatch.setattr(weight_bits, "bits_to_try", lambda host: (7,))
    (plan,) = build_bundle(heads["INT8"], tmp_path / "marks.engine", backend).plans
    # Only zero weights and those of full range lie on both grids.
    assert plan.facts["weight_bits"].startswith("7, ")
    assert [one.status for one in verify_bundle(tmp_path / "marks.engine")] == ["right"]


def test_seven_bits_need_onnx(heads, tmp_path, monkeypatch):
    monkeypatch.setattr(weight_bits, "bits_to_try", lambda host: (7,))
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "ssd_edge.graph.fp32", raising=False)
    with pytest.raises(MissingDependencyError, match="a processor without VNNI needs onnx") as error:
        build_bundle(heads["INT8"], tmp_path / "marks.engine", "openvino")
    sentence(error)


def test_no_scratch_space(heads, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "heads.bin")

    module = faulty(lambda engine: None)
    module.build = full
    monkeypatch.setitem(backends.BACKENDS, "openvino", Chosen(lambda: module))
    with pytest.raises(BundleError, match="No space left on device") as error:
        build_bundle(heads["FP32"], tmp_path / "marks.engine", "openvino")
    sentence(error)
    assert list(tmp_path.iterdir()) == []
