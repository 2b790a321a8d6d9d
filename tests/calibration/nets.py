"""Tiny convolutional heads for the calibration tests, and a NumPy reference of their INT8 results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ssd_edge.spec import METADATA_KEY
from tests.helpers import small_spec

Floats = npt.NDArray[np.float32]

SIZE = 8


def tiny_net(batch: Any = 1, opset: int = 18, with_spec: bool = True, **changes: Floats) -> onnx.ModelProto:
    """Build a net: image (1, 3, 8, 8) → 3×3 conv, ReLU → depthwise → BatchNorm → ReLU → two 1×1 heads and their sum.

    Args:
        batch: first dimension of the input.
        opset: opset of the file.
        with_spec: whether the metadata has a ModelSpec.
        changes: weights to use instead of the random ones, by name.
    """
    random = np.random.default_rng(5)
    weights: dict[str, Floats] = {
        "first.weight": random.normal(0, 0.4, (8, 3, 3, 3)),
        "first.bias": random.normal(0, 0.2, 8),
        "depthwise.weight": random.normal(0, 0.4, (8, 1, 3, 3)),
        "norm.weight": random.uniform(0.5, 2, 8),
        "norm.bias": random.normal(0, 0.3, 8),
        "norm.mean": random.normal(0, 0.3, 8),
        "norm.var": random.uniform(0.5, 2, 8),
        "loc.weight": random.normal(0, 0.4, (4, 8, 1, 1)),
        "loc.bias": random.normal(0, 0.2, 4),
        "logits.weight": random.normal(0, 0.4, (3, 8, 1, 1)),
        "logits.bias": random.normal(0, 0.2, 3),
    }
    weights = {name: np.asarray(array, np.float32) for name, array in {**weights, **changes}.items()}
    norm = ["norm.weight", "norm.bias", "norm.mean", "norm.var"]
    nodes = [
        helper.make_node("Conv", ["image", "first.weight", "first.bias"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "depthwise.weight"], ["c"], "depthwise", pads=[1, 1, 1, 1], group=8),
        helper.make_node("BatchNormalization", ["c", *norm], ["d"], "norm"),
        helper.make_node("Relu", ["d"], ["e"], "relu2"),
        helper.make_node("Conv", ["e", "loc.weight", "loc.bias"], ["loc"], "loc"),
        helper.make_node("Conv", ["e", "logits.weight", "logits.bias"], ["logits"], "logits"),
        helper.make_node("ReduceSum", ["e"], ["sum"], "sum", keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("loc", "logits", "sum")],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    properties = {"made_by": "a test"}
    if with_spec:
        properties[METADATA_KEY] = small_spec(provenance={"dataset": "none"}).to_text()
    helper.set_model_props(model, properties)
    return model


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    """Save a model in a folder, and return its path."""
    path = folder / "heads.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def images(count: int = 4) -> list[Floats]:
    """Make seeded images, (1, 3, 8, 8) float32 each."""
    random = np.random.default_rng(11)
    return [random.normal(0, 1, (1, 3, SIZE, SIZE)).astype(np.float32) for _ in range(count)]


def run(path: Path, image: Floats) -> dict[str, Floats]:
    """Run a file operator by operator, in ONNX Runtime without its optimiser, and return the outputs by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    (entry,) = session.get_inputs()
    return dict(zip(names, session.run(names, {entry.name: image}), strict=True))


def fake_quantised(x: Floats, scale: npt.ArrayLike) -> Floats:
    """Round x to the int8 grid of a scale: half to even, saturating."""
    step = np.asarray(scale, np.float32)
    return (np.clip(np.rint(x / step), -128, 127) * step).astype(np.float32)


def convolved(x: Floats, weight: Floats, bias: Floats, depthwise: bool = False) -> Floats:
    """Convolve (1, C, H, W) with (O, C/groups, k, k) by the definition, stride 1, padded to the same size."""
    k = weight.shape[2]
    padded = np.pad(x[0].astype(np.float64), ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(1, 2))
    rule = "cyxij,cij->cyx" if depthwise else "cyxij,ocij->oyx"
    result = np.einsum(rule, windows, weight[:, 0] if depthwise else weight) + bias[:, None, None]
    return result[None].astype(np.float32)
