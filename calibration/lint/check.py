"""The check of any ONNX file, of whatever tool: what keeps it from running in INT8 as it should on NVIDIA's GPUs.

Refusals, and what is read as something else, were seen with TensorRT-RTX 1.7.1's builder, whose parser is TensorRT's
(tests/calibration/lint/test_lint.py builds each case). Fusions follow "Q/DQ Layer-Placement Recommendations" in
NVIDIA's TensorRT documentation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssd_edge.calibration.lint.convolutions import around_convolutions, convolutions
from ssd_edge.calibration.lint.finding import Finding, in_float
from ssd_edge.calibration.lint.grids import grids, is_qoperator, is_quantised_convolution, operators, pairs
from ssd_edge.calibration.lint.joins import adds, concatenations, outputs, pools
from ssd_edge.calibration.network.policy import DEFAULT_POLICY, choose
from ssd_edge.errors import CalibrationError
from ssd_edge.graph.fp32 import read_heads, read_to_calibrate
from ssd_edge.graph.qdq import QdqGraph
from ssd_edge.graph.view import is_depthwise, name_of


@dataclass(frozen=True)
class LintReport:
    """The form of a file, and the findings in it.

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
        """Number of findings of this severity."""
        return sum(finding.gravity == gravity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As plain values for ``json.dumps``."""
        findings = [{"gravity": finding.gravity, **asdict(finding)} for finding in self.findings]
        return {**asdict(self), "findings": findings}


RULES: tuple[Callable[[QdqGraph], Iterator[Finding]], ...] = (
    operators,
    grids,
    pairs,
    convolutions,
    around_convolutions,
    adds,
    concatenations,
    pools,
    outputs,
)
"""What is looked for in files with Q/DQ."""


def check_onnx(path: Path) -> LintReport:
    """Check an ONNX file.

    Raises:
        CalibrationError: no such file, or no ONNX.
    """
    model = read_to_calibrate(path)
    if not model.graph.node:
        raise CalibrationError(f"{path} is not an ONNX model, or an empty one")
    graph = QdqGraph(model, path.parent)
    kinds = Counter(node.op_type for node in graph.nodes)
    form = "QOperator" if any(map(is_qoperator, graph.nodes)) else "Q/DQ" if kinds["QuantizeLinear"] else "FP32"
    form = "Q/DQ" if form == "FP32" and kinds["DequantizeLinear"] else form
    would: tuple[str, ...] = ()
    if form == "FP32":
        would, findings = _of_float(path, graph)
    else:
        findings = [finding for rule in RULES for finding in rule(graph)]
    order = {name_of(node): k for k, node in enumerate(graph.nodes)}
    gravities = ("error", "warning", "note")
    findings.sort(key=lambda finding: (gravities.index(finding.gravity), order.get(finding.node, -1)))
    num_convolutions = len(graph.convolutions) + sum(is_quantised_convolution(node) for node in graph.nodes)
    in_float = {finding.node for finding in findings if finding.kind == "in float"}
    num_int8 = sum(graph.is_int8(node) and name_of(node) not in in_float for node in graph.convolutions)
    num_int8 += sum(map(is_quantised_convolution, graph.nodes))
    return LintReport(form, num_convolutions, num_int8, would, tuple(dict.fromkeys(findings)))


def _of_float(path: Path, graph: QdqGraph) -> tuple[tuple[str, ...], list[Finding]]:
    """Of an FP32 file: what calibrate would make INT8, and what it would leave."""
    try:
        chosen = [convolution.name for convolution in choose(read_heads(path), DEFAULT_POLICY)]
    except CalibrationError as error:
        return (), [Finding("in float", "", f"calibrate does not take this file: {error}")]
    findings = []
    for node in graph.convolutions:
        weight = graph.constant(node.input[1])
        if weight is None:
            findings.append(in_float(node, "its weight is computed: only a constant one can be INT8"))
        elif is_depthwise(node, weight):
            findings.append(in_float(node, "it is depthwise, and gains little: calibrate --depthwise takes it too"))
    return tuple(chosen), findings
