"""Quantisation-aware training computes what the exported INT8 file computes, and learns through it."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.reference
import onnxruntime as ort
import pytest
import torch
import typer
from torch import Tensor, nn

from ssd_edge.calibration.network.network import Network, prepare
from ssd_edge.calibration.network.policy import DEFAULT_POLICY, Policy
from ssd_edge.calibration.network.qdq import quantised_weights
from ssd_edge.calibration.network.quantise import quantise
from ssd_edge.calibration.scales.find import observe_images, scales_of
from ssd_edge.calibration.scales.grid import rounded, weight_scales
from ssd_edge.cli.main import app
from ssd_edge.cli.train import _places
from ssd_edge.data.dataset import Dataset
from ssd_edge.errors import ModelError
from ssd_edge.export import export_onnx
from ssd_edge.graph.fp32 import with_outputs
from ssd_edge.models.catalogue import MODELS
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.models.ssd import SSD
from ssd_edge.spec import METADATA_KEY, ModelSpec
from ssd_edge.training.checkpoints import SCALES_KEY, load_checkpoint, load_scales, read_torch_file, save_checkpoint
from ssd_edge.training.fake_quantise import quantised_activation, quantised_weight
from ssd_edge.training.folding import fold_batch_norm
from ssd_edge.training.int8_graph import Int8Graph, Places
from ssd_edge.training.module import DetectorModule
from ssd_edge.training.operators import operator
from ssd_edge.training.qat import QuantisedModule, fine_tune
from ssd_edge.training.recipe import Optimiser, Recipe
from ssd_edge.training.run import TrainingRun
from ssd_edge.training.train import train
from tests.training.conftest import write_yolo
from tests.training.tiny import RECIPE

pytestmark = pytest.mark.usefixtures("tiny")


def realistic(network: SSD, seed: int = 0) -> SSD:
    """Give a network BatchNorm that is not the identity, and biases that are not zero."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5, generator=chance)
                part.running_mean.normal_(0, 0.1, generator=chance)
                part.running_var.uniform_(0.5, 1.0, generator=chance)
            if isinstance(part, nn.BatchNorm2d | nn.Conv2d) and part.bias is not None:
                part.bias.normal_(0, 0.2, generator=chance)
    return network.eval()


def some_images(network: SSD, number: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 1, (1, 3, *network.spec.input_size)).astype(np.float32) for _ in range(number)]


class Pair(NamedTuple):
    """The same INT8 network in PyTorch and in a file."""

    int8: Int8Graph
    network: Network
    file: Path
    images: list[np.ndarray]

    def ours(self, image: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [head.numpy() for head in self.int8(torch.from_numpy(image))]

    def theirs(self, image: np.ndarray, tensors: Sequence[str] = ("loc", "logits")) -> list[np.ndarray]:
        """Run the file in ONNX Runtime with nothing fused: each operator as ONNX defines it."""
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        model = with_outputs(onnx.load(self.file), tensors)
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(
            list(tensors), {"image": image}
        )


def places_of(network: Network, scales: dict[str, float]) -> Places:
    placement = network.placement
    names = [convolution.name for convolution in placement.convolutions]
    return Places(network.model, placement.readers, placement.scale_of, names, scales)


def pair(network: SSD, folder: Path, policy: Policy = DEFAULT_POLICY, powers_of_two: bool = False) -> Pair:
    biases = fold_batch_norm(network)
    images = some_images(network)
    export_onnx(network, folder / "heads.onnx")
    heads = prepare(folder / "heads.onnx", policy)
    scales = scales_of(heads, observe_images(heads, images), "min-max")
    if powers_of_two:
        scales = {name: float(2.0 ** np.ceil(np.log2(scale))) for name, scale in scales.items()}
    quantise(heads, scales, folder / "int8.onnx")
    return Pair(Int8Graph(network, biases, places_of(heads, scales), False), heads, folder / "int8.onnx", images)


# The grid


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (7, 5, 3, 3), (16, 1, 5, 5)])
def test_weights_lie_on_the_grid_of_the_file(shape):
    """Equal bit by bit to the result of weight_scales and rounded, also for channels of zeros and of denormals."""
    weight = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    weight[0] *= 0
    if shape[0] > 1:
        weight[1] *= 1e-40
    scale = weight_scales(weight)
    expected = rounded(weight, scale).astype(np.float32) * scale.reshape(-1, 1, 1, 1)
    assert np.array_equal(quantised_weight(torch.from_numpy(weight)).numpy(), expected)


def test_activations_lie_on_the_grid_of_the_file():
    """Equal bit by bit to ONNX Runtime's QuantizeLinear and DequantizeLinear, also for halves, ends and values cut."""
    step = 0.037
    exact = np.arange(-140, 140, 0.5, np.float32) * np.float32(step)
    x = np.concatenate([exact, np.random.default_rng(0).normal(0, 3, 5000)]).astype(np.float32).reshape(1, -1)
    scale = onnx.numpy_helper.from_array(np.float32(step), "scale")
    zero = onnx.numpy_helper.from_array(np.int8(0), "zero")
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        onnx.helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(x.shape)) for name in ("x", "y")]
    graph = onnx.helper.make_graph(nodes, "pair", values[:1], values[1:], [scale, zero])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    (expected,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    ours = quantised_activation(torch.from_numpy(x), torch.tensor(step)).numpy()
    assert np.array_equal(ours, expected)
    assert ours.min() == np.float32(-128) * np.float32(step)
    assert ours.max() == np.float32(127) * np.float32(step)


# Gradients


def test_gradients_go_straight_through_and_stop_where_values_are_cut():
    x = torch.tensor([[-1.4, -1.0, 0.013, 0.4, 1.26, 1.3]], requires_grad=True)
    (quantised_activation(x, torch.tensor(0.01)) * torch.arange(1.0, 7.0)).sum().backward()
    assert x.grad.tolist() == [[0, 2, 3, 4, 5, 0]]
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    factor = torch.randn_like(weight)
    (quantised_weight(weight) * factor).sum().backward()
    assert torch.equal(weight.grad, factor)


def test_the_gradient_to_a_step_is_that_of_the_paper():
    """arXiv 1902.08153, equation 3: round(v/s) − v/s inside, −128 and 127 outside; scaled by 1/√(N·127)."""
    x = torch.tensor([[-2.0, 0.013, 0.408, 3.0], [0.0, 0.0, 0.0, 0.0]])
    step = torch.tensor(0.01, requires_grad=True)
    gradient = torch.tensor([[2.0, 3.0, 5.0, 7.0], [1.0, 1.0, 1.0, 1.0]])
    (quantised_activation(x, step) * gradient).sum().backward()
    expected = (2 * -128 + 3 * (1 - 1.3) + 5 * (41 - 40.8) + 7 * 127) / (4 * 127) ** 0.5
    assert step.grad.item() == pytest.approx(expected, rel=1e-5)


# BatchNorm


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", *MODELS])
def test_folding_changes_no_output_and_the_export_folds_to_the_same_bits(name, tmp_path):
    """Outputs within 1e-5 of their size; the exporter's own folding gives the network's weights bit by bit."""
    network = realistic(make_network(make_spec(name, ("bolt", "nut"))))
    image = torch.from_numpy(some_images(network, 1)[0])
    with torch.no_grad():
        before = network(image)
        biases = fold_batch_norm(network)
        for one, other in zip(before, network(image), strict=True):
            assert (one - other).abs().max() <= 1e-5 * one.abs().max()
    export_onnx(network, tmp_path / "heads.onnx")
    model = prepare(tmp_path / "heads.onnx").model
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    parameters = dict(network.named_parameters())
    assert len(biases) == sum(node.op_type == "Conv" for node in model.graph.node)
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert np.array_equal(constants[node.input[1]], parameters[node.input[1]].detach())
            assert np.array_equal(constants[node.input[2]], biases[node.input[1]].detach())


def test_a_batch_norm_without_a_convolution_is_refused():
    with pytest.raises(ModelError, match="the BatchNorm 1 stands behind no convolution"):
        fold_batch_norm(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))


# What PyTorch computes is what the file computes


@pytest.mark.slow
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("name", ["tiny", *MODELS])
def test_each_step_is_that_of_the_file(name, depthwise, tmp_path):
    """Each tensor of the INT8 file, computed in PyTorch from the file's earlier tensors, is within 1e-5 of its largest.

    The test does not run end to end: where two sums differ in the last bit, one value in a million is rounded the
    other way, and changes others. Any two runtimes differ in this way.
    """
    network = realistic(make_network(make_spec(name, ("bolt", "nut"))))
    made = pair(network, tmp_path, Policy(depthwise=depthwise))
    here = {name for node in onnx.load(made.file).graph.node for name in node.output}
    # The file has no float tensor for a concatenation of int8 tensors.
    tensors = [step.output for step in made.int8._steps if step.output in here]
    assert len(tensors) == len(made.int8._steps)
    image = made.images[0]
    expected = dict(zip(tensors, made.theirs(image, tensors), strict=True))
    worst = 0.0

    def watched(output: str, run: Any) -> Any:
        def one(*taken: Tensor) -> Tensor:
            nonlocal worst
            ours = run(*taken).numpy()
            worst = max(worst, np.abs(ours - expected[output]).max() / max(np.abs(expected[output]).max(), 1e-6))
            return torch.from_numpy(expected[output])

        return one

    made.int8._steps = [step._replace(run=watched(step.output, step.run)) for step in made.int8._steps]
    made.ours(image)
    assert 0 < worst <= 1e-5


def on_exact_numbers(network: SSD) -> SSD:
    """Set weights to a few whole steps of a power of two, so that every sum is exact in float32, in any order."""
    chance = np.random.default_rng(0)
    fold_batch_norm(network)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 4:
                steps = chance.integers(-3, 4, parameter.shape)
                steps[:, 0, 0, 0] = 127 * chance.choice([-1, 1], len(steps))
                parameter.copy_(torch.from_numpy(steps * 2.0**-8))
            elif name.endswith("bias"):
                parameter.copy_(torch.from_numpy(chance.integers(-64, 65, parameter.shape) * 2.0**-6))
    return network


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "ssdlite300_mobilenet_v2"])
def test_on_exact_numbers_the_heads_are_those_of_the_file_bit_by_bit(name, tmp_path):
    """Compare end to end, residual adds included: with powers of two as steps no sum is rounded, so none can differ."""
    network = on_exact_numbers(make_network(make_spec(name, ("bolt", "nut"))).eval())
    made = pair(network, tmp_path, Policy(depthwise=True), powers_of_two=True)
    for image in made.images:
        for ours, theirs in zip(made.ours(image), made.theirs(image), strict=True):
            assert len(np.unique(theirs)) > 20
            assert np.array_equal(ours, theirs)


@pytest.mark.slow
def test_a_pair_left_out_is_noticed(tmp_path):
    """The comparison above can fail: without one of the pairs the heads differ."""
    made = pair(on_exact_numbers(make_network(make_spec("tiny", ("bolt", "nut"))).eval()), tmp_path, powers_of_two=True)
    step = made.int8._steps[2]
    assert any(step.through)
    made.int8._steps[2] = step._replace(through=(False,))
    assert any(
        not np.array_equal(a, b) for a, b in zip(made.ours(made.images[0]), made.theirs(made.images[0]), strict=True)
    )


@pytest.mark.slow
def test_a_batch_is_as_its_images_one_by_one(tmp_path):
    made = pair(on_exact_numbers(make_network(make_spec("tiny", ("bolt", "nut"))).eval()), tmp_path, powers_of_two=True)
    both = made.ours(np.concatenate(made.images))
    for k, image in enumerate(made.images):
        for whole, one in zip(both, made.ours(image), strict=True):
            assert np.array_equal(whole[k], one[0])


@pytest.mark.slow
def test_heads_of_another_network_are_refused(tmp_path):
    made = pair(realistic(make_network(make_spec("tiny", ("bolt", "nut")))), tmp_path)
    other = realistic(make_network(make_spec("tiny", ("bolt", "nut"))), seed=1)
    with pytest.raises(ModelError, match=r"a convolution 'backbone.features.0.0.weight' that is not the network's"):
        Int8Graph(other, fold_batch_norm(other), places_of(made.network, dict.fromkeys(made.int8._index, 1.0)), False)


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        (onnx.helper.make_node("Softmax", ["x"], ["y"], "odd"), "odd is a Softmax, which"),
        (onnx.helper.make_node("Transpose", ["x"], ["y"], "odd", perm=[1, 0, 2, 3]), "odd, a Transpose, is used in"),
        (onnx.helper.make_node("Reshape", ["x", "computed"], ["y"], "odd"), "odd, a Reshape, is used in"),
    ],
)
def test_operators_of_no_published_model_are_refused(node, sentence):
    with pytest.raises(ModelError, match=sentence):
        operator(node, {})


@pytest.mark.parametrize("pads", [[0, 0, 1, 1], [1, 1, 1, 1], [0, 2, 1, 0]])
def test_a_convolution_padded_more_on_one_side(pads):
    """TensorFlow's "SAME" pads below and right; ONNX's own reference computes the same, sums of 27 products apart."""
    chance = np.random.default_rng(0)
    image, weight = (chance.normal(0, 1, shape).astype(np.float32) for shape in ((1, 3, 8, 9), (4, 3, 3, 3)))
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=pads)
    (expected,) = onnx.reference.ReferenceEvaluator(node).run(None, {"x": image, "w": weight})
    run, _ = operator(node, {})
    np.testing.assert_allclose(run(torch.from_numpy(image), torch.from_numpy(weight)), expected, atol=1e-5)


# Fine-tuning


@pytest.fixture
def start(pictures, tmp_path) -> Path:
    """A checkpoint after a few epochs of training in float."""
    recipe = replace(RECIPE, epochs=3, validate_every=3, optimiser=Optimiser(lr=0.05))
    return train(TrainingRun(*pictures, tmp_path / "float", recipe, show_bar=False)).checkpoint


def tune(
    pictures: tuple[Dataset, Dataset],
    folder: Path,
    start: Path,
    recipe: Recipe = RECIPE,
    resume: bool = False,
    ranges: str = "learned",
):
    run = TrainingRun(*pictures, folder, recipe, resume=resume, show_bar=False)
    return fine_tune(run, start, _places, ranges)


def start_scales(pictures: tuple[Dataset, Dataset], folder: Path, start: Path) -> dict[str, float]:
    """Scales before the first step: a learning rate near 0 does not change them."""
    return load_scales(
        tune(pictures, folder, start, replace(RECIPE, epochs=1, optimiser=Optimiser(lr=1e-30))).checkpoint
    )


@pytest.mark.slow
def test_what_it_leaves_behind(pictures, start, tmp_path):
    tuned = tune(pictures, tmp_path / "run", start)
    assert tuned.epochs == 2
    assert tuned.ap50_at_start is not None
    assert tuned.ap50 >= tuned.ap50_at_start
    spec = load_checkpoint(tuned.checkpoint).spec
    assert spec.provenance["int8_ranges"] == "learned"
    assert len(spec.provenance["fine_tuned_sha256"]) == 64
    assert spec.provenance["validation_ap50"] == f"{tuned.ap50:.4f}"
    assert load_checkpoint(tmp_path / "run" / "last.ckpt").spec.labels == ("bolt", "nut")
    assert load_scales(start) == {}


@pytest.mark.slow
def test_export_writes_what_was_trained(pictures, start, tmp_path, monkeypatch):
    """model.int8.onnx of export has the scales of the checkpoint and its weights on their grids, bit by bit, and each
    of its steps is that of the network as it was trained: heads within 1 % of what INT8 changes."""
    kept: list[QuantisedModule] = []
    usual = QuantisedModule.save
    monkeypatch.setattr(QuantisedModule, "save", lambda self, *rest: (kept.append(self), usual(self, *rest)))
    tuned = tune(pictures, tmp_path / "run", start, replace(RECIPE, validate_every=2))
    app(["export", str(tuned.checkpoint)], standalone_mode=False)
    heads, file = (tuned.checkpoint.with_suffix(suffix) for suffix in (".onnx", ".int8.onnx"))
    scales = load_scales(tuned.checkpoint)
    model = onnx.load(file)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert {name: float(constants[f"{name}_scale"]) for name in scales} == scales
    network = load_checkpoint(tuned.checkpoint)
    parameters = dict(network.named_parameters())
    for name, weight in quantised_weights(prepare(heads).model, prepare(heads).placement).items():
        on_grid = constants[f"{name}_quantised"] * constants[f"{name}_scale"].reshape(-1, 1, 1, 1)
        assert np.array_equal(quantised_weight(parameters[name].detach()).numpy(), on_grid)
        assert np.array_equal(constants[f"{name}_quantised"], weight.steps)
    assert (
        ModelSpec.from_text(
            next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)
        ).provenance["calibration_method"]
        == "quantisation-aware training"
    )
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    int8, floats = (ort.InferenceSession(str(path), options) for path in (file, heads))
    for image in some_images(network):
        with torch.no_grad():
            ours = [head.numpy() for head in kept[-1].heads(torch.from_numpy(image))]
        files = (session.run(None, {"image": image}) for session in (int8, floats))
        for head, expected, unrounded in zip(ours, *files, strict=True):
            assert np.abs(head - expected).mean() <= 0.01 * np.abs(expected - unrounded).mean()


@pytest.mark.slow
def test_learned_scales_move_and_frozen_ones_do_not(pictures, start, tmp_path):
    """Compares the last epoch, since the best may be the start itself."""
    first = start_scales(pictures, tmp_path / "first", start)
    tune(pictures, tmp_path / "frozen", start, ranges="frozen")
    tune(pictures, tmp_path / "learned", start, ranges="learned")
    frozen, learned = (
        read_torch_file(tmp_path / name / "last.ckpt")["state_dict"]["int8.scales"] for name in ("frozen", "learned")
    )
    at_start = torch.tensor(list(dict.fromkeys(first.values())))
    assert sorted(frozen.tolist()) == sorted(at_start.tolist())
    assert (learned != frozen).all()
    assert (learned > 0).all()


@pytest.mark.slow
def test_weights_and_biases_learn_and_statistics_stay(pictures, start, tmp_path):
    tune(pictures, tmp_path / "run", start)
    before = load_checkpoint(start)
    fold_batch_norm(before)
    after = load_checkpoint(tmp_path / "run" / "last.ckpt").state_dict()
    for name, value in before.state_dict().items():
        learns = name.endswith(".bias") or (name.endswith(".weight") and value.ndim == 4)
        assert torch.equal(value, after[name]) != learns, name


@pytest.mark.slow
def test_resumed_equals_never_interrupted(pictures, start, tmp_path, monkeypatch):
    recipe = replace(RECIPE, epochs=3)
    tune(pictures, tmp_path / "whole", start, recipe)
    usual = DetectorModule.on_train_epoch_start

    def stop(module: DetectorModule) -> None:
        if module.current_epoch == 2:
            signal.default_int_handler(signal.SIGINT, None)
        usual(module)

    with monkeypatch.context() as patch:
        patch.setattr(DetectorModule, "on_train_epoch_start", stop)
        with pytest.raises(KeyboardInterrupt):
            tune(pictures, tmp_path / "parts", start, recipe)
    whole = tune(pictures, tmp_path / "parts", start, recipe, resume=True)
    assert whole.epochs == 3
    assert whole.ap50_at_start is not None
    one, other = (read_torch_file(tmp_path / name / "last.ckpt")["state_dict"] for name in ("whole", "parts"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


# What is refused


def test_ranges_that_do_not_exist(pictures, start, tmp_path):
    with pytest.raises(ModelError, match="ranges must be one of learned, frozen, but got 'moving'"):
        tune(pictures, tmp_path / "run", start, ranges="moving")


def test_a_checkpoint_of_other_classes(pictures, tmp_path):
    network = make_network(make_spec("tiny", ("nut", "gear")))
    save_checkpoint(tmp_path / "other.pt", network, network.spec)
    with pytest.raises(ModelError, match=r"other.pt knows the classes nut, gear, but .* names bolt, nut: fine-tune it"):
        tune(pictures, tmp_path / "run", tmp_path / "other.pt")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_architecture(pictures, start, tmp_path):
    with pytest.raises(ModelError, match=r"model.pt is a tiny, and not a ssd300_vgg16"):
        tune(pictures, tmp_path / "run", start, replace(RECIPE, model="ssd300_vgg16"))


@pytest.mark.parametrize("setting", [{"ema": 0.9}, {"frozen_blocks": 1}, {"frozen_backbone": True}])
def test_settings_of_training_in_float_alone(pictures, start, tmp_path, setting):
    (name,) = setting
    with pytest.raises(ModelError, match=f"averages none: take {name} out of the recipe"):
        tune(pictures, tmp_path / "run", start, replace(RECIPE, **setting))


@pytest.mark.slow
def test_one_kind_of_training_is_not_resumed_as_the_other(pictures, start, tmp_path):
    with pytest.raises(ModelError, match=r"last.ckpt is of training in float, and not of quantisation-aware training"):
        tune(pictures, start.parent, start, resume=True)
    tune(pictures, tmp_path / "run", start, replace(RECIPE, epochs=1))
    with pytest.raises(ModelError, match="is of quantisation-aware training, and not of training in float"):
        train(TrainingRun(*pictures, tmp_path / "run", RECIPE, resume=True, show_bar=False))
    with pytest.raises(ModelError, match="there is nothing to resume from"):
        tune(pictures, tmp_path / "empty", start, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("scales", [{"x": 0.0}, {"x": float("nan")}, {"x": "wide"}, [1.0]])
def test_scales_that_are_none(start, tmp_path, scales):
    content = read_torch_file(start)
    torch.save({**content, SCALES_KEY: scales}, tmp_path / "bad.pt")
    with pytest.raises(ModelError, match=r"the scales in .*bad.pt must be numbers above 0, one for each tensor"):
        load_scales(tmp_path / "bad.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    "option", [("--model", "ssd300_vgg16"), ("--start", "x.pt"), ("--box-sizes", "voc"), ("--frozen-blocks", "3")]
)
def test_options_that_begin_with_another_network(start, tmp_path, option):
    with pytest.raises(typer.BadParameter, match=f"--qat begins with the network of its checkpoint: drop {option[0]}"):
        app(["train", str(tmp_path), "--qat", str(start), *option], standalone_mode=False)


def test_ranges_without_qat_are_refused(tmp_path):
    with pytest.raises(typer.BadParameter, match="--ranges is for --qat"):
        app(["train", str(tmp_path), "--ranges", "frozen"], standalone_mode=False)


@pytest.mark.slow
def test_the_command(pictures, start, tmp_path, capsys):
    """Runs with the defaults of --qat; the JSON has the AP in INT8 before and after."""
    arguments = ["train", str(write_yolo(pictures[0], tmp_path / "data")), "-o", str(tmp_path / "run")]
    app([*arguments, "--qat", str(start), "--workers", "0", "--json"], standalone_mode=False)
    said = json.loads(capsys.readouterr().out)
    assert said["epochs"] == 3
    assert said["ap50"] >= said["ap50_at_start"]
