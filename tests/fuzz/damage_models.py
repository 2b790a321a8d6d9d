"""Ways to damage models that keep them readable: ONNX graphs, bundles, checkpoints, archives."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from random import Random
from typing import Any

import onnx
import torch

from tests.fuzz.damage import TOKENS, VALUES, blindly, changed_value, json_values

_SIZES = (0, -1, 1, 2, 3, 7, 2**31, 2**40, 2**62)
_KINDS = (
    "Conv",
    "Reshape",
    "Softmax",
    "Identity",
    "Concat",
    "QuantizeLinear",
    "DequantizeLinear",
    "Loop",
    "Abacus",
    "",
)


def onnx_graph(data: bytes, random: Random) -> bytes:
    """Change nodes, weights, shapes or metadata of an ONNX model."""
    model = onnx.load_from_string(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        random.choice((_node, _node, _attribute, _weight, _weight, _value, _metadata, _head))(model, random)
    return bytes(model.SerializeToString())


def _node(model: onnx.ModelProto, random: Random) -> None:
    graph = model.graph
    if not graph.node:
        return
    node, what = random.choice(graph.node), random.randrange(7)
    names = [name for one in graph.node for name in (*one.input, *one.output)] or [""]
    if what == 0:
        graph.node.remove(node)
    elif what == 1:
        node.op_type = random.choice(_KINDS)
    elif what == 2 and node.input:
        node.input[random.randrange(len(node.input))] = random.choice((*names, "", "none"))
    elif what == 3 and node.output:
        node.output[random.randrange(len(node.output))] = random.choice((*names, ""))
    elif what == 4:
        graph.node.add().CopyFrom(node)
    elif what == 5:
        del node.input[random.randrange(len(node.input) + 1) :]
    else:
        node.name, node.domain = random.choice(("", "[/x]", names[0])), random.choice(("", "none", "com.microsoft"))


def _attribute(model: onnx.ModelProto, random: Random) -> None:
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    if not attributes:
        return
    attribute = random.choice(attributes)
    if attribute.ints and random.random() < 0.7:
        attribute.ints[random.randrange(len(attribute.ints))] = random.choice(_SIZES)
    elif random.random() < 0.5:
        attribute.i = random.choice(_SIZES)
    else:
        attribute.type = random.choice((0, 1, 2, 3, 4, 6, 7))


def _weight(model: onnx.ModelProto, random: Random) -> None:
    if not model.graph.initializer:
        return
    tensor, what = random.choice(model.graph.initializer), random.randrange(6)
    if what == 0 and tensor.dims:
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice(_SIZES)
    elif what == 1:
        tensor.data_type = random.choice((0, 1, 2, 3, 7, 8, 10, 11, 16, 17, 22, 99))
    elif what == 2:
        tensor.raw_data = blindly(tensor.raw_data, random)
    elif what == 3:
        tensor.name = random.choice((*(one.name for one in model.graph.initializer), "", "image"))
    elif what == 4:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(
            key="location", value=random.choice(("none", "../a", "/etc/passwd", "", ".", "a.onnx"))
        )
        tensor.external_data.add(key="length", value=random.choice(("-1", "x", "9" * 30, "4")))
    else:
        model.graph.initializer.remove(tensor)


def _value(model: onnx.ModelProto, random: Random) -> None:
    values = [*model.graph.input, *model.graph.output]
    if not values:
        return
    value, what = random.choice(values), random.randrange(4)
    dims = value.type.tensor_type.shape.dim
    if what == 0 and dims:
        random.choice(dims).dim_value = random.choice(_SIZES)
    elif what == 1:
        value.type.tensor_type.elem_type = random.choice((0, 1, 7, 8, 10, 99))
    elif what == 2:
        value.name = random.choice(("", "loc", "logits", "image", "none"))
    elif dims:
        del dims[random.randrange(len(dims))]


def _metadata(model: onnx.ModelProto, random: Random) -> None:
    if not model.metadata_props:
        return
    entry = random.choice(model.metadata_props)
    try:
        entry.value = json_values(entry.value.encode(), random).decode()
    except ValueError:
        entry.value = blindly(entry.value.encode(), random).decode(errors="replace")


def _head(model: onnx.ModelProto, random: Random) -> None:
    what = random.randrange(4)
    if what == 0:
        model.ir_version = random.choice((0, 3, 8, 99))
    elif what == 1 and model.opset_import:
        model.opset_import[0].version = random.choice((-1, 0, 1, 7, 13, 26, 99))
    elif what == 2:
        del model.opset_import[:]
    else:
        model.functions.add(name="f", domain="none")


def sealed_manifest(data: bytes, random: Random) -> bytes:
    """Change a bundle's manifest and seal it again, so that its content is read."""
    content = json.loads(data)
    content["manifest_sha256"] = ""
    text = json_values(json.dumps(content).encode(), random)
    return text.replace(b'""', f'"{hashlib.sha256(text).hexdigest()}"'.encode(), 1)


def archive(data: bytes, random: Random) -> bytes:
    """Change a part of a zip archive; the checksums are right again afterwards."""
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        parts = {entry.filename: old.read(entry) for entry in old.infolist()}
    name, what = random.choice(sorted(parts)), random.randrange(4)
    if what == 0:
        del parts[name]
    elif what == 1:
        parts[random.choice(("../x", "a/b", f"{name}x"))] = parts.pop(name)
    elif what == 2:
        parts[name] = random.choice((b"", parts[random.choice(sorted(parts))], bytes(5_000_000), *TOKENS))
    else:
        try:
            parts[name] = json_values(parts[name], random)
        except ValueError:
            parts[name] = blindly(parts[name], random)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as new:
        for name, part in parts.items():
            new.writestr(name, part)
    return written.getvalue()


def checkpoint(data: bytes, random: Random) -> bytes:
    """Change the values of a checkpoint, and save it again as torch does."""
    content: dict[Any, Any] = torch.load(io.BytesIO(data), weights_only=True)
    for _ in range(random.choice((1, 1, 2))):
        state = content.get("state_dict")
        key = random.choice(sorted(content, key=str))
        if isinstance(state, dict) and state and random.random() < 0.5:
            name = random.choice(sorted(state, key=str))
            state[name] = random.choice(
                (*VALUES, torch.zeros(0), torch.zeros(3, dtype=torch.int64), torch.zeros(2, 2).to_sparse())
            )
        elif isinstance(content[key], str):
            content[key] = blindly(content[key].encode(), random).decode(errors="replace")
            content[key] = random.choice((content[key], json.dumps(changed_value({"a": [1]}, random), default=str)))
        else:
            content[random.choice((key, 7))] = random.choice(VALUES)
    written = io.BytesIO()
    torch.save(content, written, _use_new_zipfile_serialization=random.random() < 0.8)
    return written.getvalue()
