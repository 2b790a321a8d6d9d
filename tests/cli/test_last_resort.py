"""What reaches the program's end: full disks, errors that nobody expected, ONNX Runtime's own exceptions."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from ssd_edge.calibration.scales.observe import Observations, observe
from ssd_edge.cli import main as program
from ssd_edge.errors import ModelError
from ssd_edge.graph.files import read_graph
from ssd_edge.graph.heads import read_proof, read_spec
from ssd_edge.graph.session import open_session
from ssd_edge.proof import PROOF_KEY
from ssd_edge.spec import METADATA_KEY
from tests.models_for_tests import tiny_model


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.pt"), "the disk is full: a.pt"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", b"a\xff"), "Permission denied: a\udcff"),
        (OSError("odd"), "odd"),
        (ModelError("one sentence"), "one sentence"),
        (MemoryError(), "there is not enough memory"),
        (
            ImportError("numpy.core.multiarray failed to import"),
            (
                "OpenCV was compiled for NumPy 1, and NumPy 2 is installed: pip install 'numpy<2', or pip install "
                "opencv-python, which brings one for NumPy 2"
            ),
        ),
        (
            KeyError("a\nb"),
            (
                "a mistake in ssd-edge, or an input that it does not expect (KeyError: 'a\\nb'): ssd-edge --debug with "
                "the same command shows where; please report it"
            ),
        ),
    ],
)
def test_sentences(error, sentence):
    assert program._sentence(error) == sentence


def test_an_error_that_nobody_expected_shows_no_traceback(cli, monkeypatch, heads_onnx):
    def fail(*arguments):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("ssd_edge.graph.heads.read_spec", fail)
    cli("inspect", heads_onnx).sentence("a mistake in ssd-edge", "ZeroDivisionError: by zero", "--debug")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_to_a_full_disk(heads_onnx):
    command = [sys.executable, "-c", "from ssd_edge.cli.main import main; main()", "inspect", heads_onnx]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "ssd-edge: the disk is full\n")


def with_metadata(path, key, value):
    """Write a model whose metadata has a value that is not UTF-8."""
    model = tiny_model()
    onnx.helper.set_model_props(model, {key: "PLACEHOLDER"})  # as long as the value
    path.write_bytes(model.SerializeToString().replace(b"PLACEHOLDER", value))
    return path


@pytest.mark.parametrize("key", [METADATA_KEY, PROOF_KEY, "author"])
def test_metadata_that_is_not_utf8(tmp_path, cli, key):
    path = with_metadata(tmp_path / "a.onnx", key, b"\xff\xfe\xfd no text")
    for read in (read_spec, read_proof, read_graph):
        with pytest.raises(ModelError, match=r"a\.onnx.*not UTF-8|a\.onnx.*codec"):
            read(path)
    cli("inspect", path).sentence("a.onnx")
    cli("check-onnx", path).sentence("a.onnx")
    cli("calibrate", path, "--images", tmp_path, "--no-eval").sentence("a.onnx")


def failing_model():
    """A model that ONNX Runtime loads, and that fails when it runs: it reshapes 12 values to what they sum up to."""
    make = onnx.helper
    nodes = [
        make.make_node("ReduceSum", ["image"], ["sum"], keepdims=0),
        make.make_node("Cast", ["sum"], ["whole"], to=onnx.TensorProto.INT64),
        make.make_node("Reshape", ["image", "shape"], ["out"]),
    ]
    nodes.insert(2, make.make_node("Unsqueeze", ["whole", "zero"], ["shape"]))
    zero = make.make_tensor("zero", onnx.TensorProto.INT64, [1], [0])
    value = make.make_tensor_value_info
    graph = make.make_graph(
        nodes,
        "g",
        [value("image", onnx.TensorProto.FLOAT, [1, 3, 2, 2])],
        [value("out", onnx.TensorProto.FLOAT, ["n"])],
        [zero],
    )
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_onnx_runtimes_exceptions_have_a_kind():
    session = open_session(failing_model())
    assert session.run(["out"], {"image": np.ones((1, 3, 2, 2), np.float32)})[0].shape == (12,)
    for image in (np.full((1, 3, 2, 2), 5, np.float32), np.ones((1, 3, 2, 3), np.float32), "no array"):
        with pytest.raises(ModelError, match="ONNX Runtime failed: ") as error:
            session.run(["out"], {"image": image})
        assert "\n" not in str(error.value)
    with pytest.raises(ModelError, match="ONNX Runtime failed"):
        session.run(["none"], {})
    with pytest.raises(ModelError, match="ONNX Runtime failed"):
        observe(failing_model(), Observations.of(["out"]), [np.full((1, 3, 2, 2), 5, np.float32)])
