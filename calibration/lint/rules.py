"""What keeps a network from running in INT8 as it should on NVIDIA's GPUs: one sentence a spot, with what to do.

Works on any ONNX file, of whatever tool. What is said of refusals and of what is read as something else was seen with
TensorRT-RTX 1.7.1's builder, whose parser is TensorRT's (tests/calibration/test_lint.py builds each case); what is said
of fusions is by "Q/DQ Layer-Placement Recommendations" in NVIDIA's TensorRT documentation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ssd_edge.calibration.network.policy import DEFAULT_POLICY, choose
from ssd_edge.errors import CalibrationError
from ssd_edge.graph.fp32 import read_heads
from ssd_edge.graph.view import ACTIVATIONS, NORMALISATIONS, QdqGraph, is_depthwise, name_of

KINDS: dict[str, tuple[str, str]] = {
    "refused": ("error", "NVIDIA's parser refuses the file"),
    "no scale": ("error", "a scale that is zero, negative, NaN or infinite"),
    "read otherwise": ("error", "a runtime computes something else than the file says"),
    "blocks fusion": ("warning", "a pair, or the lack of one, keeps the compiler from fusing"),
    "rounds outputs": ("warning", "a pair between the last convolutions and decode"),
    "in float": ("note", "a convolution that does not run in INT8"),
    "coarse": ("note", "a grid coarser than it need be"),
}
"""Kinds of findings: (how grave, what it is)."""


_POOLS = frozenset({"AveragePool", "GlobalAveragePool", "MaxPool"})

# What stands between the last convolutions and the outputs.
_TO_OUTPUTS = frozenset(
    {
        "Cast",
        "Concat",
        "Flatten",
        "Identity",
        "Reshape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)


@dataclass(frozen=True)
class Finding:
    """One spot.

    Attributes:
        kind: a key of ``KINDS``.
        node: the name of the node at fault.
        sentence: what is the matter, and what to do.
    """

    kind: str
    node: str
    sentence: str

    @property
    def gravity(self) -> str:
        """``error``, ``warning`` or ``note``."""
        return KINDS[self.kind][0]


@dataclass(frozen=True)
class LintReport:
    """What a file is, and what is the matter with it.

    Attributes:
        form: ``FP32``, ``Q/DQ`` or ``QOperator``.
        convolutions: how many there are.
        int8: how many of them run in INT8.
        would_be_int8: names of those that ``calibrate`` would make INT8, of FP32 files.
        findings: in the graph's order, errors first.
    """

    form: str
    convolutions: int
    int8: int
    would_be_int8: tuple[str, ...]
    findings: tuple[Finding, ...]

    def count(self, gravity: str) -> int:
        """Findings that are so grave."""
        return sum(finding.gravity == gravity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As plain values for ``json.dumps``."""
        findings = [{"gravity": finding.gravity, **asdict(finding)} for finding in self.findings]
        return {**asdict(self), "findings": findings}


def check_onnx(path: Path) -> LintReport:
    """Look through an ONNX file.

    Raises:
        CalibrationError: no such file, or no ONNX.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise CalibrationError(f"cannot read {path}: {error.strerror}") from None
    except Exception:  # protobuf's own, which says nothing a person could use
        raise CalibrationError(f"{path} is not an ONNX model") from None
    if not model.graph.node:
        raise CalibrationError(f"{path} is not an ONNX model, or an empty one")
    graph = QdqGraph(model, path.parent)
    kinds = Counter(node.op_type for node in graph.nodes)
    form = "QOperator" if any(map(_is_qoperator, graph.nodes)) else "Q/DQ" if kinds["QuantizeLinear"] else "FP32"
    form = "Q/DQ" if form == "FP32" and kinds["DequantizeLinear"] else form
    would: tuple[str, ...] = ()
    if form == "FP32":
        would, found = _of_float(path, graph)
    else:
        found = [finding for rule in RULES for finding in rule(graph)]
    order = {name_of(node): k for k, node in enumerate(graph.nodes)}
    gravities = ("error", "warning", "note")
    found.sort(key=lambda finding: (gravities.index(finding.gravity), order.get(finding.node, -1)))
    num_convolutions = len(graph.convolutions) + sum(_is_quantised_convolution(node) for node in graph.nodes)
    in_float = {finding.node for finding in found if finding.kind == "in float"}
    num_int8 = sum(graph.is_int8(node) and name_of(node) not in in_float for node in graph.convolutions)
    num_int8 += sum(map(_is_quantised_convolution, graph.nodes))
    return LintReport(form, num_convolutions, num_int8, would, tuple(dict.fromkeys(found)))


def _of_float(path: Path, graph: QdqGraph) -> tuple[tuple[str, ...], list[Finding]]:
    """Of an FP32 file: what calibrate would make INT8, and what it would leave."""
    try:
        chosen = [convolution.name for convolution in choose(read_heads(path), DEFAULT_POLICY)]
    except CalibrationError as error:
        return (), [Finding("in float", "", f"calibrate does not take this file: {error}")]
    found = []
    for node in graph.convolutions:
        weight = graph.constant(node.input[1])
        if weight is None:
            found.append(_in_float(node, "its weight is computed: only a constant one can be INT8"))
        elif is_depthwise(node, weight):
            found.append(_in_float(node, "it is depthwise, and gains little: calibrate --depthwise takes it too"))
    return tuple(chosen), found


def _operators(graph: QdqGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if _is_qoperator(node):
            yield Finding(
                "refused",
                name_of(node),
                f"{node.op_type} {name_of(node)!r} is of ONNX Runtime's QOperator format, and NVIDIA's compilers read "
                "Q/DQ only: quantise again with quant_format=QuantFormat.QDQ",
            )


def _grids(graph: QdqGraph) -> Iterator[Finding]:
    """Scales and zero points, one Q or DQ at a time."""
    for node in graph.nodes:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            continue
        if node.op_type == "DequantizeLinear" and graph.quantise(node) is not None:
            continue  # said of its Q
        name, scale = name_of(node), graph.values(node.input[1])
        zero_name = node.input[2] if len(node.input) > 2 else ""
        zero, kind = graph.values(zero_name) if zero_name else None, _stored_type(graph, node)
        if scale is not None and not (np.isfinite(scale) & (scale > 0)).all():
            yield Finding(
                "no scale",
                name,
                f"{node.op_type} {name!r} has a scale that is not above 0 and finite: calibrate again, with images "
                "that bring its tensor to life",
            )
        if scale is None:
            yield Finding(
                "refused",
                name,
                f"{node.op_type} {name!r} has a scale that is computed at run time: quantise with constant ones",
            )
        if kind == "INT32":
            yield Finding(
                "refused",
                name,
                f"{node.op_type} {name!r} stores a bias as int32, which NVIDIA's parser does not take: leave biases in "
                "float (ONNX Runtime: extra_options={'QuantizeBias': False})",
            )
        elif zero is not None and zero.any():
            yield Finding(
                "refused",
                name,
                f"{node.op_type} {name!r} has the zero point {_first_not_zero(zero):g}, and NVIDIA takes 0 only: "
                "quantise symmetrically to int8 (ONNX Runtime: QInt8 with ActivationSymmetric and WeightSymmetric)",
            )
        elif kind == "UINT8" and graph.constant(node.input[0]) is not None:
            yield Finding(
                "refused",
                name,
                f"{node.op_type} {name!r} stores a weight as uint8, which NVIDIA's parser does not take: quantise "
                "weights to int8",
            )
        elif kind == "UINT8":
            yield Finding(
                "read otherwise",
                name,
                f"{node.op_type} {name!r} says uint8, which NVIDIA's compilers take for int8, so that the upper half "
                "of its range is cut: quantise to int8, with half the steps",
            )
        elif kind not in {"INT8", ""}:
            yield Finding(
                "refused", name, f"{node.op_type} {name!r} is of {kind.lower()}: INT8 needs int8, so quantise to that"
            )


def _pairs(graph: QdqGraph) -> Iterator[Finding]:
    """Q and DQ as a pair, and several pairs on one tensor."""
    scales: dict[str, dict[float, str]] = {}
    for node in graph.nodes:
        quantise = graph.quantise(node) if node.op_type == "DequantizeLinear" else None
        if quantise is not None:
            first, second = graph.values(quantise.input[1]), graph.values(node.input[1])
            if first is not None and second is not None and not np.array_equal(first, second):
                yield Finding(
                    "read otherwise",
                    name_of(node),
                    f"DequantizeLinear {name_of(node)!r} has another scale than QuantizeLinear {name_of(quantise)!r} "
                    "before it, so values are multiplied: give both the same",
                )
        if node.op_type == "QuantizeLinear" and graph.constant(node.input[0]) is None:
            scale = graph.values(node.input[1])
            if scale is not None and scale.size == 1:
                scales.setdefault(node.input[0], {}).setdefault(float(scale.reshape(())), name_of(node))
    for tensor, names in scales.items():
        if len(names) > 1:
            yield Finding(
                "blocks fusion",
                list(names.values())[1],
                f"tensor {tensor!r} is quantised with {len(names)} scales, by "
                f"{' and '.join(map(repr, names.values()))}: what makes it writes one int8 form only, so give all its "
                "pairs one scale",
            )


def _convolutions(graph: QdqGraph) -> Iterator[Finding]:
    """Convolutions that stay in float, and why."""
    for node in graph.convolutions:
        activation, weight = map(graph.dequantise, node.input[:2])
        constant = graph.constant(node.input[1])
        if weight is not None and not graph.of_constant(weight):
            weight = None
        if activation is None and weight is None:
            if graph.maker.get(node.input[1]) is not None and constant is None:
                yield _in_float(node, "its weight is computed: only a constant one can be INT8")
            elif is_depthwise(node, constant):
                yield _in_float(
                    node, "it has no Q/DQ: a depthwise one gains little, so leave it, or add pairs and measure"
                )
            else:
                yield _in_float(
                    node, "it has no Q/DQ: put a pair before its input, and store its weight as int8 with a DQ"
                )
        elif activation is None:
            yield _in_float(node, f"only its weight is quantised: put a pair before its input {node.input[0]!r} too")
        elif weight is None:
            yield _in_float(
                node, f"only its input is quantised: store its weight {node.input[1]!r} as int8 with a DQ too"
            )
        else:
            yield from _grid_of_convolution(graph, node, activation, weight)


def _grid_of_convolution(
    graph: QdqGraph, node: onnx.NodeProto, activation: onnx.NodeProto, weight: onnx.NodeProto
) -> Iterator[Finding]:
    scale = graph.values(activation.input[1])
    if scale is not None and scale.size > 1:
        yield _in_float(
            node, "its input has a scale for each channel, which is for weights: give activations one scale"
        )
    scale = graph.values(weight.input[1])
    if scale is None:
        return
    axis = next((a.i for a in weight.attribute if a.name == "axis"), 1)
    wanted = 0 if node.op_type == "Conv" else 1
    if scale.size == 1:
        yield Finding(
            "coarse",
            name_of(node),
            f"{node.op_type} {name_of(node)!r} has one scale for its whole weight: a scale for each output channel "
            "loses less, and costs nothing (ONNX Runtime: per_channel=True)",
        )
    elif axis != wanted:
        yield _in_float(node, f"its weight has scales along axis {axis}: output channels lie along axis {wanted}")


def _around_convolutions(graph: QdqGraph) -> Iterator[Finding]:
    """Pairs between a convolution and what it would take in; what it makes needed in float beside int8."""
    for node in graph.convolutions:
        for quantise in graph.readers[node.output[0]]:
            for dequantise in graph.readers[quantise.output[0]] if quantise.op_type == "QuantizeLinear" else ():
                for after in graph.readers[dequantise.output[0]]:
                    if after.op_type in ACTIVATIONS | NORMALISATIONS:
                        yield Finding(
                            "blocks fusion",
                            name_of(quantise),
                            f"the pair of QuantizeLinear {name_of(quantise)!r} stands between {_said(node)} and "
                            f"{_said(after)}, which therefore do not fuse: move it behind the latter",
                        )
        made = graph.activated(node.output[0])
        if not graph.is_int8(node) or all(reader.op_type != "QuantizeLinear" for reader in graph.readers[made]):
            continue
        for reader in graph.readers[made]:
            if reader.op_type in _POOLS | {"Concat"} and graph.all_quantised(reader.output[0]):
                yield Finding(
                    "blocks fusion",
                    name_of(reader),
                    f"{_said(reader)} reads {made!r} in float, so that {_said(node)} has to write it both as float and "
                    "as int8: let it read through the pair",
                )


def _adds(graph: QdqGraph) -> Iterator[Finding]:
    """Residual adds: the skip through a pair, the convolution's own output directly."""
    for node in graph.nodes:
        if node.op_type != "Add" or any(graph.constant(name) is not None for name in node.input):
            continue
        direct = [graph.is_source(name) for name in node.input]
        through = [graph.dequantise(name) for name in node.input]
        if any(direct):
            skip = 1 - max(place for place, is_direct in enumerate(direct) if is_direct)
            is_wanted = graph.all_quantised(graph.activated(node.output[0])) or any(
                reader.op_type == "QuantizeLinear" for reader in graph.readers[node.input[skip]]
            )
            if through[skip] is None and is_wanted:
                yield Finding(
                    "blocks fusion",
                    name_of(node),
                    f"{_said(node)} reads its skip {node.input[skip]!r} in float, so that the convolution before it "
                    "cannot take it in and write int8: let it read the skip through a pair",
                )
        elif all(through):
            quantises = [graph.quantise(pair) for pair in through if pair is not None]
            own = [pair for pair in quantises if pair is not None and graph.is_source(pair.input[0])]
            if own:
                yield Finding(
                    "blocks fusion",
                    name_of(own[-1]),
                    f"the pair of QuantizeLinear {name_of(own[-1])!r} stands between a convolution and {_said(node)}, "
                    "which therefore do not fuse: remove it, and keep that of the skip",
                )


def _concatenations(graph: QdqGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op_type != "Concat":
            continue
        makers = [graph.maker.get(name) for name in node.input]
        if all(maker is not None and maker.op_type == "QuantizeLinear" for maker in makers):
            scales = [graph.values(maker.input[1]) for maker in makers if maker is not None]
            if _differ(scales):
                yield Finding(
                    "read otherwise",
                    name_of(node),
                    f"{_said(node)} joins int8 of different scales, which then count as one: give all the same",
                )
        if graph.feeds_convolution(node.output[0]):
            yield Finding(
                "read otherwise",
                name_of(node),
                f"{_said(node)} joins floats that are quantised for a convolution, of which OpenVINO 2026.4 loses the "
                "zero point that it gives int8: let it join int8, with the Q before and a DQ behind it",
            )
        if not graph.all_quantised(node.output[0]):
            continue
        pairs = [graph.dequantise(name) for name in node.input]
        if not all(pairs):
            if any(pairs) or any(map(graph.int8_source, node.input)):
                yield Finding(
                    "blocks fusion",
                    name_of(node),
                    f"{_said(node)} joins floats that are quantised behind it, so that the convolutions before it "
                    "write float: quantise what it joins, with the scale of its result",
                )
        else:
            behind = [graph.values(reader.input[1]) for reader in graph.readers[node.output[0]]]
            if _differ([graph.values(pair.input[1]) for pair in pairs if pair is not None] + behind):
                yield Finding(
                    "blocks fusion",
                    name_of(node),
                    f"{_said(node)} joins tensors of different scales, which have to be rounded anew: give all that it "
                    "joins, and its result, one scale",
                )


def _pools(graph: QdqGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op_type not in _POOLS or not graph.all_quantised(node.output[0]):
            continue
        pair, source = graph.dequantise(node.input[0]), graph.int8_source(node.input[0])
        behind = [graph.values(reader.input[1]) for reader in graph.readers[node.output[0]]]
        others = [reader for reader in graph.readers[node.input[0]] if reader.op_type != "QuantizeLinear"]
        alone = len(others) == 1 and node.input[0] not in graph.outputs
        if pair is None and source is not None and (node.op_type == "MaxPool" or alone):
            yield Finding(
                "blocks fusion",
                name_of(node),
                f"{_said(node)} works in float between {_said(source)} and the Q behind it: let it read through a pair"
                + (" of the same scale as that Q's" if node.op_type == "MaxPool" else ""),
            )
        elif pair is not None and node.op_type == "MaxPool" and _differ([graph.values(pair.input[1]), *behind]):
            yield Finding(
                "blocks fusion",
                name_of(node),
                f"{_said(node)} has another scale before than behind it, so that what it passes on is rounded anew: "
                "give both pairs one scale",
            )


def _outputs(graph: QdqGraph) -> Iterator[Finding]:
    """Pairs between the last convolutions and decode."""
    for output in graph.outputs:
        waiting, seen = [output], set()
        while waiting:
            name = waiting.pop()
            node = graph.maker.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            if node.op_type == "DequantizeLinear" and not graph.of_constant(node):
                yield Finding(
                    "rounds outputs",
                    name_of(node),
                    f"output {output!r} comes through the pair of {_said(node)}, so that decode gets rounded values: "
                    "leave that pair out",
                )
            elif node.op_type in _TO_OUTPUTS:
                waiting.extend(node.input)


RULES: tuple[Callable[[QdqGraph], Iterator[Finding]], ...] = (
    _operators,
    _grids,
    _pairs,
    _convolutions,
    _around_convolutions,
    _adds,
    _concatenations,
    _pools,
    _outputs,
)
"""What is looked for in files with Q/DQ."""


def _in_float(node: onnx.NodeProto, reason: str) -> Finding:
    return Finding("in float", name_of(node), f"{_said(node)} stays in float: {reason}")


def _said(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {name_of(node)!r}"


def _differ(arrays: list[npt.NDArray[np.float64] | None]) -> bool:
    """Whether those that are known are not all one value."""
    known = [array for array in arrays if array is not None]
    return any(not np.array_equal(known[0], array) for array in known[1:])


def _is_qoperator(node: onnx.NodeProto) -> bool:
    return node.op_type.startswith("QLinear") or node.op_type in {"ConvInteger", "MatMulInteger", "QGemm"}


def _is_quantised_convolution(node: onnx.NodeProto) -> bool:
    return node.op_type in {"QLinearConv", "ConvInteger"}


def _first_not_zero(array: npt.NDArray[np.float64]) -> float:
    return float(array[array != 0].reshape(-1)[0])


def _stored_type(graph: QdqGraph, node: onnx.NodeProto) -> str:
    """The type on the quantised side: of the zero point, of a stored weight, or uint8, as ONNX has it by default."""
    zero = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    stored = graph.constant(node.input[0]) if node.op_type == "DequantizeLinear" else None
    known = stored or zero
    if known is not None:
        return str(onnx.TensorProto.DataType.Name(known.data_type))
    if len(node.input) > 2 and node.input[2]:
        return ""
    return "UINT8" if node.op_type == "QuantizeLinear" and not _output_type(node) else ""


def _output_type(node: onnx.NodeProto) -> int:
    """The attribute output_dtype, of opset 21; 0 where there is none."""
    return next((int(a.i) for a in node.attribute if a.name == "output_dtype"), 0)
