"""Bundles (NAME.engine/): only an unchanged bundle is loaded, and it gives the heads that it was built from."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys

import numpy as np
import onnxruntime
import openvino
import pytest

import ssd_edge
from ssd_edge import files
from ssd_edge.engines import backends
from ssd_edge.engines import onnxruntime as ort_backend
from ssd_edge.engines.bundle import build as bundles
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.errors import (
    BackendError,
    BundleCompatibilityError,
    BundleError,
    BundleIntegrityError,
    ModelError,
    SsdEdgeError,
)
from ssd_edge.files import sha256
from tests.helpers import Chosen, small_spec
from tests.models_for_tests import write_tiny

BACKENDS = ("openvino", "onnxruntime")


@pytest.fixture
def copy(bundle, tmp_path):
    """A copy of a bundle, which tests may damage."""
    return shutil.copytree(bundle, tmp_path / "copy.engine")


def rewrite(folder, change):
    """Change a manifest and seal it again."""
    content = json.loads((folder / "manifest.json").read_text())
    change(content)
    content["manifest_sha256"] = ""
    text = json.dumps(content)
    seal = f'"{hashlib.sha256(text.encode()).hexdigest()}"'
    (folder / "manifest.json").write_text(text.replace('""', seal, 1))


def is_one_sentence(error):
    text = str(error.value)
    assert text
    assert "\n" not in text
    return text


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bundle_gives_the_heads_of_its_onnx_file(backend, heads_onnx, tmp_path):
    """Reference: ONNX Runtime on the file itself; tolerance 1e-5 of values of about 1."""
    build_bundle(heads_onnx, tmp_path / "a.engine", backend)
    engine = load_bundle(tmp_path / "a.engine")
    session = onnxruntime.InferenceSession(str(heads_onnx), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(1)
    for image in (rng.normal(0, 1, (1, 3, 32, 32)), np.zeros((1, 3, 32, 32)), np.full((1, 3, 32, 32), 100.0)):
        image = image.astype(np.float32)
        heads = engine.submit(image)()
        for head, wanted in zip(heads, session.run(["loc", "logits"], {"image": image}), strict=True):
            np.testing.assert_allclose(head, wanted, rtol=1e-5, atol=1e-5)
            assert head.dtype == np.float32
    assert (engine.backend, engine.precision) == (backend, "FP32")
    assert engine.spec == small_spec()
    engine.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_content_of_the_manifest(backend, tmp_path):
    spec = small_spec().with_provenance(parent="model.pt", parent_sha256="ab" * 32, dataset="bolts")
    onnx = write_tiny(tmp_path / "heads.onnx", spec)
    built = build_bundle(onnx, tmp_path / "a.engine", backend)
    content = json.loads((tmp_path / "a.engine" / "manifest.json").read_text())
    assert content["schema_version"] == 2
    assert content["spec"] == json.loads(spec.to_text())
    (plan,) = content["plans"]
    runtime = {"openvino": openvino.__version__.split("-")[0], "onnxruntime": onnxruntime.__version__}[backend]
    assert (plan["backend"], plan["version"], plan["precision"]) == (backend, runtime, "FP32")
    assert plan["machine"] == ""  # any processor may run it: the proof decides
    assert set(content["sha256"]) == set(plan["files"])
    assert set(contents(tmp_path / "a.engine")) == {"manifest.json", *plan["files"]}
    for name, digest in content["sha256"].items():
        assert digest == sha256(tmp_path / "a.engine" / name)
    assert read_manifest(tmp_path / "a.engine") == built


def test_provenance_leads_back_to_the_data(tmp_path):
    spec = small_spec().with_provenance(parent="model.pt", parent_sha256="ab" * 32, dataset="bolts")
    onnx = write_tiny(tmp_path / "heads.onnx", spec)
    build_bundle(onnx, tmp_path / "a.engine", "onnxruntime")
    manifest = read_manifest(tmp_path / "a.engine")
    assert manifest.provenance["onnx"] == "heads.onnx"
    assert manifest.provenance["onnx_sha256"] == sha256(onnx)
    assert manifest.provenance["ssd_edge"] == ssd_edge.__version__
    assert manifest.plans[0].onnx == "heads.onnx"
    assert manifest.plans[0].onnx_sha256 == sha256(onnx)
    assert manifest.spec.provenance == spec.provenance
    assert load_bundle(tmp_path / "a.engine").spec.provenance["dataset"] == "bolts"


def test_int8_heads_are_called_so(tmp_path, heads_onnx):
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(heads_onnx)
    scale = numpy_helper.from_array(np.float32(0.05), "scale")
    zero = numpy_helper.from_array(np.int8(0), "zero")
    model.graph.initializer.extend([scale, zero])
    model.graph.node[0].input[0] = "image.dq"
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["image.q", "scale", "zero"], ["image.dq"]))
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["image.q"]))
    onnx.save(model, tmp_path / "int8.onnx")
    for backend in BACKENDS:
        build_bundle(tmp_path / "int8.onnx", tmp_path / "a.engine", backend)
        engine = load_bundle(tmp_path / "a.engine")
        assert engine.precision == "INT8"
        assert np.isfinite(engine.submit(np.zeros((1, 3, 32, 32), np.float32))().logits).all()
        engine.close()


# Damaged bundles.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["manifest.json", "heads.xml", "heads.bin"])
def test_one_byte_changed_anywhere_is_seen(copy, name):
    """Sampled bytes of every file, each with a bit flipped."""
    whole = (copy / name).read_bytes()
    rng = np.random.default_rng(2)
    places = {0, len(whole) - 1, *rng.integers(0, len(whole), 60).tolist()}
    for place in places:
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << int(rng.integers(8))
        (copy / name).write_bytes(spoilt)
        with pytest.raises((BundleIntegrityError, BundleCompatibilityError)) as error:
            load_bundle(copy)
        assert "build-engine" in is_one_sentence(error)
    (copy / name).write_bytes(whole)
    load_bundle(copy).close()


def test_a_changed_threshold_in_the_manifest_is_seen(copy):
    """The model would still load: only the checksum of the manifest itself can tell."""
    text = (copy / "manifest.json").read_text()
    assert '"score_threshold": 0.01' in text
    (copy / "manifest.json").write_text(text.replace('"score_threshold": 0.01', '"score_threshold": 0.91'))
    with pytest.raises(BundleIntegrityError, match=r"manifest\.json was altered after it was built: build it again"):
        load_bundle(copy)


@pytest.mark.parametrize("name", ["manifest.json", "heads.xml", "heads.bin"])
def test_a_missing_file(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleIntegrityError, match=f"{name}.*build it again") as error:
        load_bundle(copy)
    is_one_sentence(error)


@pytest.mark.parametrize("name", ["manifest.json", "heads.xml", "heads.bin"])
def test_a_truncated_file(copy, name):
    whole = (copy / name).read_bytes()
    for size in (0, len(whole) // 2):
        (copy / name).write_bytes(whole[:size])
        with pytest.raises(BundleIntegrityError, match=name) as error:
            load_bundle(copy)
        is_one_sentence(error)


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "null", "{}", '{"schema_version": 2}', '{"spec": {}}', "\ufeff{}", "{" * 100]
)
def test_a_manifest_that_is_none(copy, text):
    (copy / "manifest.json").write_text(text)
    with pytest.raises(BundleIntegrityError, match=r"manifest\.json") as error:
        load_bundle(copy)
    is_one_sentence(error)


@pytest.mark.parametrize("field", ["spec", "plans", "sha256", "provenance"])
@pytest.mark.parametrize("value", [None, 7, "text", [7], [{"a": 7}]])
def test_a_sealed_manifest_with_a_wrong_field(copy, field, value):
    rewrite(copy, lambda content: content.update({field: value}))
    with pytest.raises(BundleError) as error:
        load_bundle(copy)
    is_one_sentence(error)


@pytest.mark.parametrize("version", [0, 1, 3, "2", None, [2]])
def test_another_schema_version(copy, version):
    rewrite(copy, lambda content: content.update(schema_version=version))
    with pytest.raises(BundleCompatibilityError, match=r"schema version .*reads version 2: build it again") as error:
        load_bundle(copy)
    is_one_sentence(error)


@pytest.mark.parametrize("name", ["../heads.xml", "/etc/passwd", "..", ".", "", "a/b", "..\\heads.xml"])
@pytest.mark.parametrize("where", ["plans", "sha256"])
def test_a_file_name_that_leads_out_of_the_bundle(copy, name, where):
    def change(content):
        if where == "plans":
            content["plans"][0]["files"][0] = name
        else:
            content["sha256"][name] = "0" * 64

    rewrite(copy, change)
    with pytest.raises(BundleIntegrityError, match="leads out of the bundle") as error:
        load_bundle(copy)
    is_one_sentence(error)


def test_a_plan_file_without_a_checksum(copy):
    rewrite(copy, lambda content: content["sha256"].pop("heads.bin"))
    with pytest.raises(BundleIntegrityError, match=r"heads\.bin"):
        load_bundle(copy)


def test_no_bundle_at_all(tmp_path):
    with pytest.raises(BundleIntegrityError, match="is not there"):
        load_bundle(tmp_path / "none.engine")
    with pytest.raises(BundleIntegrityError, match=r"has no manifest\.json"):
        load_bundle(tmp_path)
    (tmp_path / "file.engine").write_text("hello")
    with pytest.raises(BundleIntegrityError, match="is no folder"):
        load_bundle(tmp_path / "file.engine")


# Bundles that are sound, but built for another machine.


def test_a_foreign_machine(copy):
    rewrite(copy, lambda content: content["plans"][0].update(machine="riscv64"))
    with pytest.raises(
        BundleCompatibilityError, match=f"for riscv64, and this machine is {platform.machine()}"
    ) as error:
        load_bundle(copy)
    hint = f"ssd-edge build-engine heads.onnx --backend openvino --add --output {copy}"
    assert is_one_sentence(error).endswith(hint)
    shutil.copy(copy / "heads.xml", copy.with_name("heads.onnx"))  # heads that stand beside the bundle are found
    with pytest.raises(BundleCompatibilityError) as error:
        load_bundle(copy)
    assert f"ssd-edge build-engine {copy.with_name('heads.onnx')} " in is_one_sentence(error)
    read_manifest(copy)  # it can still be inspected


def test_a_newer_runtime(copy):
    rewrite(copy, lambda content: content["plans"][0].update(version="2999.1.0"))
    with pytest.raises(BundleCompatibilityError, match=r"OpenVINO 2999\.1\.0.*is installed") as error:
        load_bundle(copy)
    assert "pip install 'openvino>=2999.1.0'" in is_one_sentence(error)


def test_an_older_runtime_is_fine(copy):
    rewrite(copy, lambda content: content["plans"][0].update(version="2024.6.0"))
    load_bundle(copy).close()


def test_an_unknown_backend(copy):
    rewrite(copy, lambda content: content["plans"][0].update(backend="abacus"))
    with pytest.raises(BundleCompatibilityError, match="needs the backend 'abacus', which this ssd-edge") as error:
        load_bundle(copy)
    is_one_sentence(error)


def test_no_plan_at_all(copy):
    rewrite(copy, lambda content: content.update(plans=[]))
    with pytest.raises(BundleCompatibilityError, match="holds no plan"):
        load_bundle(copy)


def test_the_first_plan_that_fits_is_taken(copy):
    def change(content):
        (plan,) = content["plans"]
        content["plans"] = [{**plan, "machine": "riscv64"}, {**plan, "backend": "abacus"}, {**plan, "machine": ""}]

    rewrite(copy, change)
    engine = load_bundle(copy)
    assert engine.backend == "openvino"
    engine.close()


def test_a_runtime_that_is_not_installed(copy, monkeypatch):
    def absent():
        raise ModuleNotFoundError("No module named 'openvino'", name="openvino")

    monkeypatch.setitem(backends.BACKENDS, "openvino", Chosen(absent))
    with pytest.raises(BundleCompatibilityError, match=r"openvino.*not installed") as error:
        load_bundle(copy)
    is_one_sentence(error)
    with pytest.raises(BackendError, match="pip install openvino"):
        backends.get_backend("openvino")


# Building.


def test_a_build_refuses_what_it_cannot_use(heads_onnx, tmp_path):
    with pytest.raises(BundleError, match=r"ends in \.engine, but got engine: try engine\.engine"):
        build_bundle(heads_onnx, tmp_path / "engine", "openvino")
    with pytest.raises(BackendError, match="no backend is called 'abacus'; there are tensorrt, tensorrt-rtx, openvino"):
        build_bundle(heads_onnx, tmp_path / "a.engine", "abacus")
    with pytest.raises(ModelError, match="there is no file"):
        build_bundle(tmp_path / "none.onnx", tmp_path / "a.engine", "openvino")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["folder", "empty", "file"])
def test_a_build_does_not_replace_what_is_no_bundle(heads_onnx, tmp_path, kind):
    output = tmp_path / "mine.engine"
    if kind == "file":
        output.write_text("my diary")
    else:
        output.mkdir()
    if kind == "folder":
        (output / "diary.txt").write_text("my diary")
    with pytest.raises(BundleError, match="exists and is no bundle"):
        build_bundle(heads_onnx, output, "openvino")
    assert output.is_dir() == (kind != "file")
    if kind == "folder":
        assert (output / "diary.txt").read_text() == "my diary"


def test_a_build_makes_the_folders_above_it(heads_onnx, tmp_path):
    build_bundle(heads_onnx, tmp_path / "a" / "b" / "c.engine", "onnxruntime")
    load_bundle(tmp_path / "a" / "b" / "c.engine").close()


@pytest.mark.parametrize("exchange", [True, False], ids=["one step", "two renames"])
def test_a_rebuild_replaces_the_bundle_and_leaves_nothing_else(bundle, tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    output = shutil.copytree(bundle, tmp_path / "out" / "a.engine")
    (output / "stray.txt").write_text("left from before")
    other = write_tiny(tmp_path / "other.onnx", small_spec(labels=("face", "cat")), seed=7)
    build_bundle(other, output, "onnxruntime")
    assert set(contents(output)) == {"manifest.json", "heads.onnx"}
    engine = load_bundle(output)
    assert engine.spec.labels == ("face", "cat")
    engine.close()
    assert [path.name for path in output.parent.iterdir()] == ["a.engine"]


def test_a_damaged_bundle_can_be_rebuilt(copy, heads_onnx):
    (copy / "manifest.json").write_text("{")
    (copy / "heads.bin").unlink()
    build_bundle(heads_onnx, copy, "openvino")
    load_bundle(copy).close()


def test_a_failed_build_leaves_the_old_bundle(copy, heads_onnx, tmp_path, monkeypatch):
    before = contents(copy)

    def fail(onnx, spec, folder, options, progress):
        (folder / "heads.xml").write_text("half of it")
        raise BackendError("it did not work")

    monkeypatch.setattr(ort_backend, "build", fail)
    with pytest.raises(BackendError):
        build_bundle(heads_onnx, copy, "onnxruntime")
    assert contents(copy) == before
    assert [path.name for path in tmp_path.iterdir()] == ["copy.engine"]


def test_a_bad_onnx_file_leaves_the_old_bundle(copy, tmp_path):
    before = contents(copy)
    (tmp_path / "bad.onnx").write_bytes(b"no protobuf at all")
    with pytest.raises(SsdEdgeError):
        build_bundle(tmp_path / "bad.onnx", copy, "openvino")
    assert contents(copy) == before


@pytest.mark.parametrize("exchange", [True, False], ids=["one step", "two renames"])
def test_a_build_whose_last_step_fails_leaves_the_old_bundle(copy, heads_onnx, monkeypatch, exchange):
    """Includes a failure between the two renames, which systems without an atomic exchange need."""
    before = contents(copy)
    original = type(copy).replace

    def replace(self, target):
        if target == copy and self.name == "bundle":
            raise PermissionError("no")
        return original(self, target)

    monkeypatch.setattr(type(copy), "replace", replace)
    if exchange:
        monkeypatch.setattr(bundles, "replace_folder", lambda new, target: replace(new, target))
    else:
        monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    with pytest.raises(BundleError, match="cannot build"):
        build_bundle(heads_onnx, copy, "onnxruntime")
    assert contents(copy) == before
    load_bundle(copy).close()


KILLED = """
import os, signal, sys
from pathlib import Path
from ssd_edge import files
from ssd_edge.engines.bundle import build

onnx, output, when = sys.argv[1:]
original = build.replace_folder

def killed(new, target):
    if when == "after":
        original(new, target)
    os.kill(os.getpid(), signal.SIGKILL)

build.replace_folder = killed
build.build_bundle(Path(onnx), Path(output), "onnxruntime")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is needed")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_build_killed_midway_leaves_a_whole_bundle(copy, heads_onnx, when):
    """The old one until the last step, the new one after it; a later build still works."""
    done = subprocess.run([sys.executable, "-c", KILLED, heads_onnx, copy, when], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    engine = load_bundle(copy)
    assert engine.backend == {"before": "openvino", "after": "onnxruntime"}[when]
    engine.close()
    build_bundle(heads_onnx, copy, "openvino")
    load_bundle(copy).close()
