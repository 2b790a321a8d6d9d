"""Opening a model in any form, chosen by its name's suffix."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest

from ssd_edge.engines.opening import open_model
from ssd_edge.errors import BundleIntegrityError, MissingDependencyError, ModelError
from tests.helpers import small_spec


@pytest.mark.parametrize("kind", ["onnx", "bundle"])
def test_each_form_runs(kind, heads_onnx, bundle):
    engine = open_model({"onnx": heads_onnx, "bundle": bundle}[kind])
    assert (engine.backend, engine.precision) == ({"onnx": "exact", "bundle": "openvino"}[kind], "FP32")
    assert engine.spec == small_spec()
    assert engine.submit(np.zeros((1, 3, 32, 32), np.float32))().loc.shape == (1, 56, 4)
    engine.close()


def test_a_checkpoint_runs(checkpoint):
    engine = open_model(checkpoint)
    assert (engine.backend, engine.precision, engine.depth) == ("pytorch", "FP32", 1)
    assert engine.submit(np.zeros((1, 3, 300, 300), np.float32))().loc.shape == (1, 1917, 4)
    engine.close()


def test_a_bundle_by_any_name(bundle, tmp_path):
    open_model(shutil.copytree(bundle, tmp_path / "renamed")).close()


def test_a_checkpoint_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for module in ("ssd_edge.training.checkpoints", "ssd_edge.training.heads", "ssd_edge.models.networks"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(MissingDependencyError, match=r"model\.pt is a checkpoint and needs PyTorch.*ssd-edge\[train\]"):
        open_model(tmp_path / "model.pt")


def test_paths_that_are_no_model(tmp_path, checkpoint):
    with pytest.raises(ModelError, match="there is no model"):
        open_model(tmp_path / "none.engine")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelError, match=r"notes\.txt is no model: it must be NAME\.engine/, NAME\.onnx"):
        open_model(tmp_path / "notes.txt")
    with pytest.raises(BundleIntegrityError, match="has no manifest"):
        open_model(tmp_path)


def test_a_folder_of_bundles(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "v1.engine")
    with pytest.raises(BundleIntegrityError, match=r"is a folder of engine bundles: name one of them.*/v1\.engine"):
        open_model(tmp_path)


@pytest.mark.parametrize("name", ["model.pt", "model.ckpt", "model.onnx"])
@pytest.mark.parametrize("content", [b"", b"no model at all", b"PK\x03\x04 half a zip"])
def test_a_damaged_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=name) as error:
        open_model(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_truncated_checkpoint(tmp_path, checkpoint):
    whole = checkpoint.read_bytes()
    (tmp_path / "model.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"model\.pt") as error:
        open_model(tmp_path / "model.pt")
    assert "\n" not in str(error.value)
