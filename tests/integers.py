"""A Q/DQ network whose float32 sums are exact in any order, so that every correct executor gives the same bits.

All scales are powers of two, all values are small integers times these, and no sum reaches 2^24 steps. So only
QuantizeLinear rounds, and NumPy computes the same result. Activations and weights reach the ends of their ranges, where
a processor without VNNI saturates when it adds two of their products in 16 bits.

``python -m tests.integers FOLDER`` prints the largest differences of this machine's engines from NumPy, as JSON.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.helpers import small_spec

SIZE, CHANNELS = 8, 16
STEPS = (2.0**-3, 2.0**4)
"""Scales of the two activations."""
WEIGHT_STEP = 2.0**-5


def weights():
    """Make the weights of both convolutions: (O, I, 3, 3) int8 steps in −127 … 127."""
    rng = np.random.default_rng(0)
    first = rng.choice(np.asarray([-127, -126, -90, 90, 126, 127], np.int8), (CHANNELS, 3, 3, 3))
    second = rng.choice(np.asarray([-127, -100, 5, 100, 127], np.int8), (CHANNELS, CHANNELS, 3, 3))
    return first, second


def image():
    """Make an image, (1, 3, 8, 8) float32, of whole steps, many of them the largest."""
    rng = np.random.default_rng(1)
    steps = rng.choice(np.asarray([-128, -50, 0, 100, 127, 127, 127]), (1, 3, SIZE, SIZE))
    return (steps * STEPS[0]).astype(np.float32)


def expected():
    """Compute the network's output, (1, 16, 8, 8), in NumPy's float64."""
    value = image().astype(np.float64)
    for weight, step in zip(weights(), STEPS, strict=True):
        quantised = np.clip(np.rint(value / step), -128, 127) * step
        padded = np.pad(quantised, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
        value = np.einsum("nchwij,ocij->nohw", windows, weight * WEIGHT_STEP)
        value = np.maximum(value, 0) if weight.shape[1] == 3 else value
    return value


def model():
    """Make the network as ONNX: ``image`` → ``loc`` and ``logits``, which are equal."""
    constants, nodes = {"zero": np.int8(0)}, []

    def through(name, step):
        constants[f"{name}.step"] = np.float32(step)
        nodes.append(helper.make_node("QuantizeLinear", [name, f"{name}.step", "zero"], [f"{name}.q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.q", f"{name}.step", "zero"], [f"{name}.dq"]))
        return f"{name}.dq"

    source = "image"
    for k, (weight, step) in enumerate(zip(weights(), STEPS, strict=True)):
        constants[f"w{k}"] = weight
        constants[f"w{k}.step"] = np.full(CHANNELS, WEIGHT_STEP, np.float32)
        constants[f"w{k}.zeros"] = np.zeros(CHANNELS, np.int8)
        dequantise = ["DequantizeLinear", [f"w{k}", f"w{k}.step", f"w{k}.zeros"], [f"w{k}.dq"]]
        nodes.append(helper.make_node(*dequantise, axis=0))
        inputs = [through(source, step), f"w{k}.dq"]
        nodes.append(helper.make_node("Conv", inputs, [f"c{k}"], f"c{k}", kernel_shape=[3, 3], pads=[1] * 4))
        source = f"c{k}"
        if k == 0:
            nodes.append(helper.make_node("Relu", [source], ["r0"]))
            source = "r0"
    nodes += [helper.make_node("Identity", [source], [name]) for name in ("loc", "logits")]
    shape = [1, CHANNELS, SIZE, SIZE]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("loc", "logits")]
    entry = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "integers", [entry], outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def differences(folder: Path) -> dict[str, float]:
    """Compute the largest |result − expected| of each executor, as a share of the largest expected value."""
    from ssd_edge.calibration.scales.observe import session
    from ssd_edge.engines.cpu.exact import open_exact
    from ssd_edge.engines.openvino import OpenVinoEngine
    from ssd_edge.graph.seven_bits import with_seven_bits

    network = model()
    eight, seven = folder / "eight.onnx", folder / "seven.onnx"
    onnx.save(network, eight)
    with_seven_bits(network)
    onnx.save(network, seven)
    spec, wanted = small_spec(), expected()

    def off(result, reference):
        return float(np.abs(result - reference).max() / np.abs(reference).max())

    def ran(engine):
        with closing(engine):
            return engine.submit(image())().loc.copy()

    of_seven = ran(open_exact(seven, spec))
    return {
        "exact": off(ran(open_exact(eight, spec)), wanted),
        "calibration": off(session(eight.read_bytes()).run(["loc"], {"image": image()})[0], wanted),
        "openvino, 8 bits": off(ran(OpenVinoEngine(eight, spec, "INT8")), wanted),
        "openvino, 7 bits": off(ran(OpenVinoEngine(seven, spec, "INT8")), of_seven),
    }


if __name__ == "__main__":
    print(json.dumps(differences(Path(sys.argv[1]))))
