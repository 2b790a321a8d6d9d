"""Constants computed and BatchNormalization folded into convolutions, by ONNX Runtime's basic optimiser."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from ssd_edge.graph.files import read_graph
from ssd_edge.graph.session import BASIC, open_session

# ONNX Runtime's changes to Q/DQ, among them int32 biases, which NVIDIA's parser refuses: Q/DQ stays as it is.
_CHANGES_OF_QDQ = [
    "DoubleQDQPairsRemover",
    "EnsureUniqueDQForNodeUnit",
    "QDQPropagationTransformer",
    "QDQS8ToU8Transformer",
    "WeightBiasQuantization",
]


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with BatchNormalization and constant padding in its convolutions, and constants computed.

    The basic optimiser writes no operators of its own; a higher level would.

    Args:
        model: with all its weights; those that it lists as inputs too are no inputs afterwards.

    Raises:
        ModelError: ONNX Runtime refuses the model; the text is its reason alone.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    # Weights among the inputs could be replaced at run time, and so would not count as constants.
    inputs = images(bare)
    del bare.graph.input[:]
    bare.graph.input.extend(inputs)
    bare.ir_version = max(bare.ir_version, 4)  # the first that allows weights that are no inputs
    for node in bare.graph.node:
        # Absent optional inputs at the end mean the same as none, but keep the optimiser from folding a Pad.
        while node.input and not node.input[-1]:
            del node.input[-1]
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "folded.onnx"
        open_session(bare.SerializeToString(), level=BASIC, optimised=target, left_out=_CHANGES_OF_QDQ)
        result = read_graph(target)
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    return result


def images(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """List the inputs that are not weights: older files list those among the inputs too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]
