"""Read the constants of a TensorFlow frozen graph (a serialised ``GraphDef``) without TensorFlow; nothing is executed.

Field numbers are those of tensorflow/core/framework/{graph,node_def,attr_value,tensor,tensor_shape}.proto.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssd_edge.errors import ModelError
from ssd_edge.files import LFS_ADVICE, is_lfs_pointer
from ssd_edge.starts.protobuf import fields

_NODE = 1  # of GraphDef
_NAME, _OP, _ATTR = 1, 2, 5  # of NodeDef
_KEY, _VALUE = 1, 2  # of an entry of its map of attributes
_TENSOR = 8  # of AttrValue
_DTYPE, _SHAPE, _CONTENT, _FLOATS = 1, 2, 4, 5  # of TensorProto
_DIM, _SIZE = 2, 1  # of TensorShapeProto
_FLOAT = 1  # DT_FLOAT
_MOST_FILLED = 1 << 22
"""Values of all constants together that a graph may declare beyond those that it holds."""


def float_constants(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Read all constants of type float32 by the names of their nodes.

    Raises:
        ModelError: the file is missing, or not such a graph.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from None
    if is_lfs_pointer(path):
        raise ModelError(f"{path} {LFS_ADVICE}")
    try:
        nodes = [_constant(node) for number, node in fields(content) if number == _NODE]
        constants = dict(filter(None, nodes))
        if sum(array.size for array in constants.values()) > len(content) // 4 + _MOST_FILLED:
            raise ValueError("its constants are larger than the file")
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} is not a frozen graph of TensorFlow, or is damaged: {error}") from None
    return constants


def _constant(node: int | memoryview) -> tuple[str, npt.NDArray[np.float32]] | None:
    """Read a node's name and value; None if it is no constant of float32."""
    name, value = "", None
    for number, field in fields(_bytes(node)):
        if number == _NAME:
            name = bytes(_bytes(field)).decode()
        elif number == _OP and bytes(_bytes(field)) != b"Const":
            return None
        elif number == _ATTR:
            entry = dict(fields(_bytes(field)))
            if bytes(_bytes(entry.get(_KEY, 0))) == b"value":
                value = dict(fields(_bytes(entry[_VALUE]))).get(_TENSOR)
    array = None if value is None else _tensor(_bytes(value))
    return None if array is None else (name, array)


def _tensor(message: memoryview) -> npt.NDArray[np.float32] | None:
    """Read a TensorProto; None if it is not of float32.

    Raises:
        ValueError: its values are not as many as its shape says.
    """
    shape: list[int] = []
    kind = 0
    parts: list[memoryview] = []
    for number, field in fields(message):
        if number == _DTYPE and isinstance(field, int):
            kind = field
        elif number == _SHAPE:
            dims = [dict(fields(_bytes(dim))).get(_SIZE, 0) for part, dim in fields(_bytes(field)) if part == _DIM]
            shape = [size if isinstance(size, int) else -1 for size in dims]
        elif number in {_CONTENT, _FLOATS}:
            parts.append(_bytes(field))
    if kind != _FLOAT:
        return None
    values = np.frombuffer(b"".join(parts), "<f4")
    number_of_values = int(np.prod(shape, dtype=object)) if shape else 1
    if len(values) == 1 != number_of_values and 0 < number_of_values < _MOST_FILLED:  # one value stands for all
        return np.broadcast_to(values.astype(np.float32), shape)  # takes no memory, whatever the shape
    if len(values) != number_of_values:
        raise ValueError(f"a tensor of shape {shape} holds {len(values)} values")
    return values.reshape(shape).astype(np.float32)


def _bytes(field: int | memoryview) -> memoryview:
    if isinstance(field, int):
        raise TypeError("a field has another type than in a graph")
    return field
