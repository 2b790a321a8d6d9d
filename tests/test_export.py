"""Export: heads.onnx, run by ONNX Runtime and OpenVINO, compared with PyTorch."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from ssd_edge.data.images import preprocessed, sample_images
from ssd_edge.detector import RawHeads
from ssd_edge.engines.opening import open_model
from ssd_edge.engines.openvino import OpenVinoEngine
from ssd_edge.export import compare, export_onnx
from ssd_edge.files import sha256
from ssd_edge.graph.heads import read_spec, write_heads
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.models.ssd import SSD
from ssd_edge.spec import METADATA_KEY
from ssd_edge.training.checkpoints import load_checkpoint
from tests.helpers import small_spec
from tests.models_for_tests import tiny_model

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
"""Tolerance for heads of a few units: float32 sums of several thousand terms, added in another order."""


@pytest.fixture(autouse=True)
def _same_chance():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class TinyBackbone(nn.Module):
    channels = (16,)

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 4, 1), nn.ReLU()
        )

    def forward(self, images):
        return [self.layers(images)]


def tiny_network(spec=None):
    spec = spec or small_spec()
    extra = nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU())
    boxes = [len(level.sizes) for level in spec.levels]
    loc = [nn.Conv2d(16, 4 * n, 3, padding=1) for n in boxes]
    classes = [nn.Conv2d(16, spec.num_classes * n, 3, padding=1) for n in boxes]
    return SSD(spec, TinyBackbone(), [extra], loc, classes).eval()


def realistic(network):
    """Set BatchNorm's statistics as after training; in an untrained network it neither shifts nor scales."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
    return network.eval()


def check(network, path, engines=("onnxruntime",)):
    """Check that heads are finite and close to PyTorch's for a black frame, a rendered one and noise."""
    spec = network.spec
    frames = [np.zeros((48, 64, 3), np.uint8), *sample_images(None, 1)]
    noise = np.random.default_rng(0).normal(0, 1, (1, 3, *spec.input_size)).astype(np.float32)
    images = [*preprocessed(frames, spec), noise]
    for name in engines:
        engine = open_model(path) if name == "onnxruntime" else OpenVinoEngine(path, spec, "FP32")
        agreement = compare(network, lambda image, engine=engine: engine.submit(image)(), images)
        engine.close()
        assert agreement.images == 3
        assert agreement.loc < TOLERANCE
        assert agreement.logits < TOLERANCE


def test_a_tiny_network(tmp_path):
    network = realistic(tiny_network())
    export_onnx(network, tmp_path / "heads.onnx")
    check(network, tmp_path / "heads.onnx", ("onnxruntime", "openvino"))


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    """Exported SSDLite300: network, file, and the spec that was returned."""
    network = load_checkpoint(checkpoint)
    path = tmp_path_factory.mktemp("exported") / "heads.onnx"
    return network, path, export_onnx(network, path, checkpoint)


def test_ssdlite300(exported):
    network, path, _ = exported
    check(network, path, ("onnxruntime", "openvino"))


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "ssd300_vgg16", "ssd512_vgg16"])
def test_the_other_models(name, tmp_path):
    """A black frame once made L2Norm NaN, because its eps of 1e-10 was optimised away."""
    network = realistic(make_network(make_spec(name, ("bolt", "nut"))))
    export_onnx(network, tmp_path / "heads.onnx")
    assert read_spec(tmp_path / "heads.onnx").architecture == name
    assert onnx.load(tmp_path / "heads.onnx").opset_import[0].version >= 18
    check(network, tmp_path / "heads.onnx")


def test_the_file_holds_what_the_next_step_needs(exported, checkpoint):
    """It has the right names, shapes and opset, weights inside, no decode, and the spec in its metadata."""
    _, path, spec = exported
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    (opset,) = (entry.version for entry in model.opset_import if entry.domain == "")
    assert opset >= 18
    assert {entry.domain for entry in model.opset_import} == {""}
    assert spec.provenance["opset"] == str(opset)
    assert {metadata.key for metadata in model.metadata_props} >= {METADATA_KEY}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"image": [1, 3, 300, 300], "loc": [1, 1917, 4], "logits": [1, 1917, 3]}
    kinds = {node.op_type for node in model.graph.node}
    assert kinds.isdisjoint({"NonMaxSuppression", "TopK", "Softmax", "Sigmoid", "Exp", "BatchNormalization"})
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    assert [entry.name for entry in path.parent.iterdir()] == ["heads.onnx"]


def test_the_spec_is_read_back_unchanged(exported, checkpoint):
    network, path, spec = exported
    written = read_spec(path)
    assert written == spec
    assert written.provenance["parent"] == checkpoint.name
    assert written.provenance["parent_sha256"] == sha256(checkpoint)
    assert written.provenance["dataset"] == "none"
    assert written.provenance["torch"] == torch.__version__
    assert (written.levels, written.labels, written.mean) == (
        network.spec.levels,
        network.spec.labels,
        network.spec.mean,
    )


def test_export_is_quiet_and_leaves_the_logger_as_it_was(tmp_path, capfd):
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    export_onnx(tiny_network(), tmp_path / "heads.onnx")
    assert logger.level == before
    assert capfd.readouterr() == ("", "")


def test_export_of_a_network_in_training_uses_evaluation_mode(tmp_path):
    network = realistic(tiny_network()).train()
    export_onnx(network, tmp_path / "heads.onnx")
    check(network.eval(), tmp_path / "heads.onnx")


def test_channels_last_weights(tmp_path):
    network = realistic(tiny_network()).to(memory_format=torch.channels_last)
    export_onnx(network, tmp_path / "heads.onnx")
    check(network, tmp_path / "heads.onnx")


def test_compare_gives_the_largest_difference_and_hides_no_nan():
    network = tiny_network()
    images = [np.zeros((1, 3, 32, 32), np.float32)] * 3

    def off(loc, logits):
        with torch.no_grad():
            wanted = [head.numpy() for head in network(torch.zeros(1, 3, 32, 32))]
        return compare(network, lambda _: RawHeads(wanted[0] + np.float32(loc), wanted[1] + np.float32(logits)), images)

    agreement = off(0.25, -0.5)
    assert (agreement.images, agreement.loc, agreement.logits) == pytest.approx((3, 0.25, 0.5), abs=1e-5)
    assert np.isnan(off(np.nan, 0).loc)
    assert np.isnan(off(0, np.nan).logits)
    assert off(0, np.inf).logits == np.inf


def test_heads_keep_their_other_metadata(tmp_path):
    model = tiny_model()
    onnx.helper.set_model_props(model, {"author": "somebody", METADATA_KEY: "an old one"})
    write_heads(model, small_spec(), tmp_path / "heads.onnx")
    props = {entry.key: entry.value for entry in onnx.load(tmp_path / "heads.onnx").metadata_props}
    assert props == {"author": "somebody", METADATA_KEY: small_spec().to_text()}


def test_a_graph_that_is_not_sound_is_not_written(tmp_path):
    model = tiny_model()
    model.graph.node[0].input[0] = "nowhere"
    (tmp_path / "heads.onnx").write_bytes(b"the old one")
    with pytest.raises(onnx.checker.ValidationError):
        write_heads(model, small_spec(), tmp_path / "heads.onnx")
    assert (tmp_path / "heads.onnx").read_bytes() == b"the old one"
