"""Read and write checkpoints: weights and ModelSpec in one file, read with ``weights_only``."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssd_edge.errors import ModelError
from ssd_edge.files import LFS_ADVICE, is_lfs_pointer, sha256, written_whole
from ssd_edge.models.registry import make_network
from ssd_edge.models.ssd import SSD
from ssd_edge.spec import METADATA_KEY, ModelSpec

SCALES_KEY = "int8_scales"
"""Key of the INT8 scales in a checkpoint of quantisation-aware training: {tensor of the ONNX file: scale}."""

_PREFIX = "network."


def save_checkpoint(
    path: Path, network: SSD, spec: ModelSpec, half: bool = False, scales: Mapping[str, float] | None = None
) -> None:
    """Write weights and spec to a file that is never left half-written.

    Args:
        path: the file; replaced if it exists.
        network: gives the weights.
        spec: describes the network; usually ``network.spec`` with provenance added.
        half: store floating-point weights as FP16, half the size; loading gives FP32 again. A tensor with a value
            that FP16 cannot hold stays FP32.
        scales: INT8 scales of activations by tensor name, if quantisation-aware training found them.
    """
    weights = {
        f"{_PREFIX}{name}": _halved(value) if half and value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    content = {METADATA_KEY: spec.to_text(), "state_dict": weights}
    write_torch_file(path, content if scales is None else {**content, SCALES_KEY: dict(scales)})


def replace_spec(path: Path, spec: ModelSpec) -> None:
    """Replace the spec in a checkpoint; its weights and scales stay.

    Raises:
        ModelError: the checkpoint cannot be read.
    """
    write_torch_file(path, {**read_torch_file(path), METADATA_KEY: spec.to_text()})


def _halved(value: Tensor) -> Tensor:
    half = value.half()
    return half if torch.equal(half.isfinite(), value.isfinite()) else value


def load_checkpoint(path: Path) -> SSD:
    """Load the network of a checkpoint, in evaluation mode on the CPU; a ``last.ckpt`` is read too.

    Raises:
        ModelError: the file is missing, damaged or not made by ssd-edge, or its weights do not fit its architecture.
        SpecError: the spec has another version.
    """
    content = read_torch_file(path)
    if METADATA_KEY not in content or "state_dict" not in content:
        raise ModelError(
            f"{path} is not a checkpoint of ssd-edge: it has no model spec; if it holds a backbone's weights, give it "
            "to ssd-edge train --backbone-weights"
        )
    state = content["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path} is not a checkpoint of ssd-edge: its state_dict must hold tensors by name")
    spec = ModelSpec.from_text(str(content[METADATA_KEY]))
    network = make_network(spec.with_provenance(checkpoint_sha256=sha256(path)))
    weights = {
        str(name).removeprefix(_PREFIX): value.float() if value.is_floating_point() else value
        for name, value in state.items()
        if str(name).startswith(_PREFIX)
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(f"the weights in {path} do not fit {spec.architecture}: {reason}") from None
    return network.eval()


def load_scales(path: Path) -> dict[str, float]:
    """Read the INT8 scales of activations from a checkpoint, by tensor of its ONNX file; empty if it has none.

    Raises:
        ModelError: the file cannot be read, or its scales are not numbers above 0.
    """
    scales = read_torch_file(path).get(SCALES_KEY, {})
    if not isinstance(scales, dict) or not all(
        isinstance(scale, float) and 0 < scale < math.inf for scale in scales.values()
    ):
        raise ModelError(f"the scales in {path} must be numbers above 0, one for each tensor: the file is damaged")
    return {str(name): scale for name, scale in scales.items()}


def load_matching(network: SSD, weights: Mapping[str, Tensor], labels: Sequence[str]) -> list[str]:
    """Load every tensor whose name and shape the network has too, to fine-tune another model.

    Where the classes differ, in name or order, the layers that predict them stay as they are, whatever their shape.

    Args:
        network: changed in place.
        weights: tensors by name.
        labels: class names that belong to the weights, without background.

    Returns:
        Names of the network's tensors that stay as they are, sorted.
    """
    own = network.state_dict()
    anew = set[str]() if tuple(labels) == network.spec.labels else class_tensors(network)
    matching = {
        name: value
        for name, value in weights.items()
        if name in own and value.shape == own[name].shape and name not in anew
    }
    network.load_state_dict(matching, strict=False)
    return sorted(set(own) - set(matching))


def class_tensors(network: SSD) -> set[str]:
    """Return the names of the tensors that predict classes: those of the last convolution of each class head."""
    names = set()
    for number, head in enumerate(network.class_heads):
        *_, last = (name for name, layer in head.named_modules() if isinstance(layer, nn.Conv2d))
        prefix = f"class_heads.{number}.{last}." if last else f"class_heads.{number}."
        names |= {name for name in network.state_dict() if name.startswith(prefix)}
    return names


def as_softmax(network: SSD) -> None:
    """Set the background's logits to 0, where scores were sigmoids: of one class, softmax then gives the same scores.

    Args:
        network: changed in place.
    """
    state = network.state_dict()
    for name in class_tensors(network):
        state[name].view(-1, network.spec.num_classes, *state[name].shape[1:])[:, 0] = 0


def describe_taken(source: Path, network: SSD, weights: Mapping[str, Tensor], left_out: Sequence[str]) -> str:
    """Say in one sentence what ``load_matching`` took from a checkpoint, and what it left out.

    Args:
        source: the checkpoint.
        network: took the weights.
        weights: the checkpoint's tensors by name.
        left_out: result of ``load_matching``.
    """
    own = network.state_dict()
    same_shape = {name for name in left_out if name in weights and weights[name].shape == own[name].shape}
    reasons = {
        "left out because their classes differ": [name for name in left_out if name in same_shape],
        "left out because their shape differs": [
            name for name in left_out if name in weights and name not in same_shape
        ],
        "missing there": [name for name in left_out if name not in weights],
        "left out because this model has no such tensor": sorted(set(weights) - set(own)),
    }
    sentence = f"taken from {source}: {len(own) - len(left_out)} of {len(own)} tensors"
    for reason, names in reasons.items():
        if names:
            from_scratch = " (trained from scratch)" if names[0] in own else ""
            sentence += f"; {reason}: {listed(names)}{from_scratch}"
    return sentence


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return ``a, b, c``, or the first of many names and the number of the others."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"


def write_torch_file(path: Path, content: Mapping[str, Any]) -> None:
    """Write a dict as ``torch.save`` does, whole or not at all; a checksum of each of its parts stands in the file.

    Raises:
        ModelError: the file cannot be written.
    """
    encoded = io.BytesIO()  # torch's own writer makes a RuntimeError of a full disk
    torch.save(content, encoded)
    try:
        with written_whole(path) as partial:
            partial.write_bytes(encoded.getbuffer())
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}; an earlier one is as it was") from None


def read_torch_file(path: Path) -> dict[str, Any]:
    """Read a dict that ``torch.save`` wrote, without executing anything in the file.

    Raises:
        ModelError: the file is missing or damaged, or holds more than tensors and plain values.
    """
    try:
        _check_parts(path)
        # torchvision's training scripts save their options beside the weights; a Namespace of values runs nothing.
        with warnings.catch_warnings(), torch.serialization.safe_globals([Namespace]):
            warnings.simplefilter("ignore")  # about a damaged file; the error below says it better
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"there is no file {path}") from None
    except PermissionError:
        raise ModelError(f"{path} may not be read by this user") from None
    except Exception as error:  # a damaged file makes torch raise anything: struct.error, IndexError, AssertionError …
        if is_lfs_pointer(path):
            raise ModelError(f"{path} {LFS_ADVICE}") from None
        raise ModelError(
            f"{path} cannot be read safely as a checkpoint: it is damaged, was not written by torch.save, or holds "
            f"more than weights and plain values ({type(error).__name__})"
        ) from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} must hold a dict of weights, but holds {type(content).__name__}")
    return content


def _check_parts(path: Path) -> None:
    """Compare each part of a file with its checksum, which torch does not; files from before torch 1.6 have none.

    Raises:
        ValueError, zipfile.BadZipFile, ...: the file is damaged.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} differs from its checksum")
