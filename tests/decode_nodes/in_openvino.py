"""The decode nodes for OpenVINO, so that a whole graph with them runs in one call on a CPU, for comparison.

OpenVINO has to be asked for FP32 (``INFERENCE_PRECISION_HINT``), as everywhere in this project. A model read this way
runs in this process only: operators written in Python are not saved with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import openvino
from openvino.frontend.onnx import ConversionExtension

from ssd_edge.engines.kernels.launch import between_buffers, result_buffers
from ssd_edge.engines.plugins.decode_graph import DOMAIN, node_attributes
from ssd_edge.spec import ModelSpec
from tests.decode_nodes import in_numpy


class _DecodeOp(openvino.Op):  # type: ignore[misc]
    """Base of the operators: outputs whose shapes are known except for the batch, and a function of arrays."""

    def __init__(
        self,
        inputs: Sequence[Any],
        function: Callable[..., Sequence[Any]],
        attributes: Mapping[str, int | float],
        outputs: Sequence[tuple[tuple[int, ...], Any]],
    ) -> None:
        self._made_of = function, attributes, outputs
        super().__init__(self, list(inputs))

    def validate_and_infer_types(self) -> None:
        batch = self.get_input_partial_shape(0)[0]
        _, _, outputs = self._made_of
        self.set_output_size(len(outputs))
        for index, (shape, dtype) in enumerate(outputs):
            self.set_output_type(index, openvino.Type(dtype), openvino.PartialShape([batch, *shape]))

    def clone_with_new_inputs(self, new_inputs: Sequence[Any]) -> Any:
        return type(self)(new_inputs, *self._made_of)

    def visit_attributes(self, visitor: Any) -> bool:
        return True

    def has_evaluate(self) -> bool:
        return True

    def evaluate(self, outputs: Sequence[Any], inputs: Sequence[Any]) -> bool:
        function, attributes, _ = self._made_of
        for output, array in zip(outputs, function(*(np.array(one.data) for one in inputs), **attributes), strict=True):
            output.shape = array.shape
            output.data[...] = array
        return True


class SsdDecode(_DecodeOp):
    """See ``in_numpy.decode``."""


class SsdSelect(_DecodeOp):
    """See ``in_numpy.select``."""


class SsdMerge(_DecodeOp):
    """See ``in_numpy.merge``."""


def extensions(spec: ModelSpec) -> list[ConversionExtension]:
    """Make the arguments for ``openvino.Core.add_extension``, to call before reading a graph from ``with_decode``.

    The attributes are read from the graph; the spec, the same as the graph's, gives the shapes.
    """
    between = [(buffer.shape[1:], buffer.dtype) for buffer in between_buffers(spec, 1).values()]
    results = [(buffer.shape[1:], buffer.dtype) for buffer in result_buffers(spec, 1).values()]
    kinds = (
        (SsdDecode, in_numpy.decode, between[:2]),
        (SsdSelect, in_numpy.select, between[2:]),
        (SsdMerge, in_numpy.merge, results),
    )
    names = node_attributes(spec)

    def extension(kind: type[_DecodeOp], function: Callable[..., Sequence[Any]], outputs: Any) -> ConversionExtension:
        def convert(node: Any) -> Any:
            attributes = {name: node.get_attribute(name) for name in names[kind.__name__]}
            inputs = [node.get_input(index) for index in range(node.get_input_size())]
            return kind(inputs, function, attributes, outputs).outputs()

        return ConversionExtension(kind.__name__, DOMAIN, convert)

    return [extension(*kind) for kind in kinds]
