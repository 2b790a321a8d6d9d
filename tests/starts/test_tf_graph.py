"""Frozen graphs: read without TensorFlow, refused when damaged, undone where they differ from ours."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssd_edge.errors import ModelError
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.starts.convert import read_start
from ssd_edge.starts.frozen_graph import float_constants
from ssd_edge.starts.protobuf import fields
from ssd_edge.starts.tf_graph import ORDER, TF_GRAPH
from tests.starts.graphs import constant, field


@given(st.lists(st.tuples(st.integers(1, 2**28), st.one_of(st.integers(0, 2**64 - 1), st.binary(max_size=300)))))
def test_fields_come_back(message):
    encoded = b"".join(field(number, value) for number, value in message)
    assert [(n, v if isinstance(v, int) else bytes(v)) for n, v in fields(encoded)] == message


@given(st.binary(max_size=100))
def test_any_bytes_give_fields_or_a_value_error(content):
    with suppress(ValueError):
        assert all(number >= 0 for number, _ in fields(content))


def test_constants_of_float_are_read_and_all_else_is_not(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    one = field(1, 1) + field(2, field(2, field(1, 4))) + field(5, struct.pack("<f", 7))  # one value for four
    graph = constant("a", array) + constant("b", array, op=b"Add") + constant("c", array.astype(np.int32), kind=3)
    graph += field(1, field(1, b"d") + field(2, b"Const") + field(5, field(1, b"value") + field(2, field(8, one))))
    (tmp_path / "graph.pb").write_bytes(graph + field(4, b""))
    found = float_constants(tmp_path / "graph.pb")
    assert set(found) == {"a", "d"}
    np.testing.assert_array_equal(found["a"], array)
    np.testing.assert_array_equal(found["d"], np.full(4, 7, np.float32))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80",
        b"\x0b",  # a group
        b"\x0a\x05ab",
        field(1, 3),
        field(1, field(1, b"\xff") + field(2, b"Const")),
        constant("a", np.zeros((2, 3), np.float32)).replace(field(2, field(1, 3)), field(2, field(1, 4))),
        constant("a", np.zeros((2, 3), np.float32)).replace(field(2, field(1, 3)), field(2, field(1, 2**63))),
    ],
)
def test_damaged_graphs(tmp_path, content):
    (tmp_path / "graph.pb").write_bytes(content)
    with pytest.raises(ModelError, match="is not a frozen graph of TensorFlow, or is damaged: ") as caught:
        float_constants(tmp_path / "graph.pb")
    assert "\n" not in str(caught.value)


def test_a_graph_that_declares_more_than_it_holds(tmp_path):
    """One value may stand for many, but not for all memory: 300 times 2 MiB."""
    one = field(1, 1) + field(2, field(2, field(1, 1 << 19))) + field(5, struct.pack("<f", 7))
    value = field(5, field(1, b"value") + field(2, field(8, one)))
    nodes = [field(1, field(1, b"%d" % k) + field(2, b"Const") + value) for k in range(300)]
    (tmp_path / "graph.pb").write_bytes(b"".join(nodes))
    with pytest.raises(ModelError, match="its constants are larger than the file"):
        float_constants(tmp_path / "graph.pb")


def test_no_graph(tmp_path):
    with pytest.raises(ModelError, match=r"cannot read .*: No such file"):
        read_start(tmp_path / "graph.pb", "tf-graph")
    (tmp_path / "graph.pb").write_bytes(b"")
    with pytest.raises(ModelError, match=r"is no detector of TensorFlow's Object Detection API .* it holds no tensors"):
        read_start(tmp_path / "graph.pb", "tf-graph")


# --- several classes keep their sigmoids ---------------------------------------------------------------------------


POINTWISE = re.compile(r"(loc|class)_heads\.\d\.1\.(weight|bias)")


def as_graph(network) -> bytes:
    """Write a network as TensorFlow's Object Detection API would: the inverse of what the import undoes."""
    layout = TF_GRAPH.layouts[0]
    graph = b""
    for name, tensor in network.state_dict().items():
        theirs, array = layout.theirs(name), tensor.numpy()
        if name.endswith("num_batches_tracked"):
            continue
        if POINTWISE.fullmatch(name):
            boxes = len(network.spec.levels[int(name.split(".")[1])].sizes)
            array = array.reshape(boxes, -1, *array.shape[1:])
            if boxes == 6:
                array = array[np.argsort(ORDER)]
            if name.startswith("loc"):
                array = array[:, [1, 0, 3, 2]]
            array = array.reshape(-1, *array.shape[2:])
        if array.ndim == 4:
            array = array.transpose(2, 3, 0, 1) if theirs.endswith("depthwise_weights") else array.transpose(2, 3, 1, 0)
        graph += constant(theirs, np.ascontiguousarray(array))
    return graph


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 3])
def test_a_graph_of_several_classes_keeps_its_sigmoids(tmp_path, classes):
    """Of one class, only the background's rows change, to 0."""
    network = make_network(make_spec("ssdlite300_mobilenet_v2_tensorflow", [f"class {k + 1}" for k in range(classes)]))
    (tmp_path / "graph.pb").write_bytes(as_graph(network))
    made = read_start(tmp_path / "graph.pb", "tf-graph")
    assert made.spec.score_function == ("softmax" if classes == 1 else "sigmoid")
    assert made.spec.labels == network.spec.labels
    for name, value in made.state_dict().items():
        wanted = network.state_dict()[name].clone()
        if classes == 1 and name.startswith("class") and POINTWISE.fullmatch(name):
            wanted[::2] = 0
        assert torch.equal(value, wanted), name


def test_the_files_names_are_tensorflows(tmp_path):
    """A weight that is missing is named by its node."""
    network = make_network(make_spec("ssdlite300_mobilenet_v2_tensorflow", ["person"]))
    graph = as_graph(network).replace(b"expanded_conv_16/project/weights", b"expanded_conv_16/project/weightz")
    Path(tmp_path / "graph.pb").write_bytes(graph)
    with pytest.raises(ModelError, match="1 is missing: FeatureExtractor/MobilenetV2/expanded_conv_16/project/weights"):
        read_start(tmp_path / "graph.pb", "tf-graph")
