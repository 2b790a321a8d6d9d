"""Rules about what stands between convolutions: adds, concatenations, poolings, and the outputs."""

from __future__ import annotations

from collections.abc import Iterator

from ssd_edge.calibration.lint.finding import Finding, differ, said
from ssd_edge.graph.operators import MOVES, POOLS
from ssd_edge.graph.qdq import QdqGraph
from ssd_edge.graph.view import name_of

# Kinds of nodes between the last convolutions and the outputs.
_TO_OUTPUTS = MOVES | {"Cast", "Concat", "Sigmoid", "Slice", "Softmax"}


def adds(graph: QdqGraph) -> Iterator[Finding]:
    """Check residual adds: the skip is read through a pair, the convolution's own output directly."""
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
                    f"{said(node)} reads its skip {node.input[skip]!r} in float, so that the convolution before it "
                    "cannot take it in and write int8: let it read the skip through a pair",
                )
        elif all(through):
            quantises = [graph.quantise(pair) for pair in through if pair is not None]
            own = [pair for pair in quantises if pair is not None and graph.is_source(pair.input[0])]
            if own:
                yield Finding(
                    "blocks fusion",
                    name_of(own[-1]),
                    f"the pair of QuantizeLinear {name_of(own[-1])!r} stands between a convolution and {said(node)}, "
                    "which therefore do not fuse: remove it, and keep that of the skip",
                )


def concatenations(graph: QdqGraph) -> Iterator[Finding]:
    """Check that concatenations join int8 of one scale."""
    for node in graph.nodes:
        if node.op_type != "Concat":
            continue
        makers = [graph.maker.get(name) for name in node.input]
        if all(maker is not None and maker.op_type == "QuantizeLinear" for maker in makers):
            scales = [graph.values(maker.input[1]) for maker in makers if maker is not None]
            if differ(scales):
                yield Finding(
                    "read otherwise",
                    name_of(node),
                    f"{said(node)} joins int8 of different scales, which then count as one: give all the same",
                )
        if graph.feeds_convolution(node.output[0]):
            yield Finding(
                "read otherwise",
                name_of(node),
                f"{said(node)} joins floats that are quantised for a convolution, of which OpenVINO 2026.4 loses the "
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
                    f"{said(node)} joins floats that are quantised behind it, so that the convolutions before it "
                    "write float: quantise what it joins, with the scale of its result",
                )
        else:
            behind = [graph.values(reader.input[1]) for reader in graph.readers[node.output[0]]]
            if differ([graph.values(pair.input[1]) for pair in pairs if pair is not None] + behind):
                yield Finding(
                    "blocks fusion",
                    name_of(node),
                    f"{said(node)} joins tensors of different scales, which have to be rounded anew: give all that it "
                    "joins, and its result, one scale",
                )


def pools(graph: QdqGraph) -> Iterator[Finding]:
    """Check that poolings between INT8 convolutions read through pairs."""
    for node in graph.nodes:
        if node.op_type not in POOLS or not graph.all_quantised(node.output[0]):
            continue
        pair, source = graph.dequantise(node.input[0]), graph.int8_source(node.input[0])
        behind = [graph.values(reader.input[1]) for reader in graph.readers[node.output[0]]]
        others = [reader for reader in graph.readers[node.input[0]] if reader.op_type != "QuantizeLinear"]
        alone = len(others) == 1 and node.input[0] not in graph.outputs
        if pair is None and source is not None and (node.op_type == "MaxPool" or alone):
            yield Finding(
                "blocks fusion",
                name_of(node),
                f"{said(node)} works in float between {said(source)} and the Q behind it: let it read through a pair"
                + (" of the same scale as that Q's" if node.op_type == "MaxPool" else ""),
            )
        elif pair is not None and node.op_type == "MaxPool" and differ([graph.values(pair.input[1]), *behind]):
            yield Finding(
                "blocks fusion",
                name_of(node),
                f"{said(node)} has another scale before than behind it, so that what it passes on is rounded anew: "
                "give both pairs one scale",
            )


def outputs(graph: QdqGraph) -> Iterator[Finding]:
    """Find pairs between the last convolutions and decode."""
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
                    f"output {output!r} comes through the pair of {said(node)}, so that decode gets rounded values: "
                    "leave that pair out",
                )
            elif node.op_type in _TO_OUTPUTS:
                waiting.extend(node.input)
