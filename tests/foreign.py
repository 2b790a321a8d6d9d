"""Make INT8 files like other tools: by ONNX Runtime's quantize_static, or in the style of NVIDIA's Model Optimizer."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

_SYMMETRIC = {"ActivationSymmetric": True, "WeightSymmetric": True}

ORT = {
    "as it comes": {},
    "QOperator": {"quant_format": QuantFormat.QOperator},
    "int8, biases too": {
        "activation_type": QuantType.QInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
        "extra_options": _SYMMETRIC,
    },
    "for NVIDIA": {
        "activation_type": QuantType.QInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
        "op_types_to_quantize": ["Conv"],
        "extra_options": {
            **_SYMMETRIC,
            "QuantizeBias": False,
            "DedicatedQDQPair": True,
            "OpTypesToExcludeOutputQuantization": ["Conv"],
        },
    },
    "uint8": {
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "op_types_to_quantize": ["Conv"],
        "extra_options": {"QuantizeBias": False, "OpTypesToExcludeOutputQuantization": ["Conv"]},
    },
}
"""Options of quantize_static by name."""


class Reader(CalibrationDataReader):
    """Reader that gives images one at a time."""

    def __init__(self, images: Iterable[np.ndarray], name: str = "image") -> None:
        self._images, self._name = iter(images), name

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {self._name: image}


def by_onnx_runtime(heads: Path, output: Path, images: Iterable[np.ndarray], options: str) -> Path:
    """Run quantize_static with one of ``ORT``, and silence what it writes to the root logger."""
    logging.disable(logging.CRITICAL)
    try:
        quantize_static(str(heads), str(output), Reader(images), **ORT[options])
    finally:
        logging.disable(logging.NOTSET)
    return output


def with_float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model, with int8 weights turned into floats followed by QuantizeLinear, as Model Optimizer writes them."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    nodes = []
    for node in result.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            name, scale, zero = node.input
            axes = {"axis": 0} if constants[scale].dims else {}
            steps = numpy_helper.to_array(constants[scale]).reshape(-1, *[1] * (len(constants[name].dims) - 1))
            values = numpy_helper.to_array(constants[name]).astype(np.float32) * steps
            constants[name].CopyFrom(numpy_helper.from_array(values, name))
            nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}_int8"], f"{name}_Q", **axes))
            node.input[0] = f"{name}_int8"
        nodes.append(node)
    graph = onnx.GraphProto()
    graph.CopyFrom(result.graph)
    del graph.node[:]
    graph.node.extend(nodes)
    result.graph.CopyFrom(graph)
    return result
