"""Choose the number of bits for the weights of INT8 heads on this processor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssd_edge.engines.base import Backend
from ssd_edge.errors import CalibrationError, MissingDependencyError, ModelError
from ssd_edge.files import sha256
from ssd_edge.graph.heads import precision_of, read_proof
from ssd_edge.machine import instructions
from ssd_edge.machine.host import Host, this_host
from ssd_edge.preprocess import preprocess
from ssd_edge.proof import Proof
from ssd_edge.spec import ModelSpec


def bits_to_try(host: Host) -> tuple[int, ...]:
    """List the bits of weights to try, best first.

    8 bits saturate on x86 without VNNI and AMX; elsewhere the proof decides whether they do.
    """
    return (7,) if instructions.saturates(host) else (8, 7)


def heads_to_try(
    onnx: Path, spec: ModelSpec, backend: Backend, scratch: Path
) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """List the forms of the heads that a plan may be built from here, best first, with facts for the manifest.

    Args:
        onnx: the heads.
        spec: the spec of the heads.
        backend: the backend that builds the plan.
        scratch: a folder for temporary files.

    Raises:
        MissingDependencyError: the processor needs weights of 7 bits, and the package ``onnx`` is not installed.
    """
    if not backend.ANY_PROCESSOR:
        return iter([(onnx, {})])
    if precision_of(onnx) != "INT8":
        return iter([(onnx, {"cpu": instructions.kind(this_host())})])
    return _int8_heads_to_try(onnx, spec, scratch)


def _int8_heads_to_try(onnx: Path, spec: ModelSpec, scratch: Path) -> Iterator[tuple[Path, Mapping[str, str]]]:
    host = this_host()
    for bits in bits_to_try(host):
        if bits == 8:
            yield onnx, {"cpu": instructions.kind(host), "weight_bits": "8"}
        else:
            path, origin = _with_seven_bits(onnx, spec, scratch)
            yield path, {"cpu": instructions.kind(host), "weight_bits": f"7, {origin}"}


def _with_seven_bits(source: Path, spec: ModelSpec, scratch: Path) -> tuple[Path, str]:
    try:
        import onnx

        from ssd_edge.graph.files import read_model
        from ssd_edge.graph.fp32 import read_heads
        from ssd_edge.graph.mean_shift import absorb_shift
        from ssd_edge.graph.seven_bits import parent_weights, with_seven_bits
    except ModuleNotFoundError:
        raise MissingDependencyError("onnx", "calibrate", "INT8 for a processor without VNNI") from None
    parent = source.with_name(Path(spec.provenance.get("parent", "")).name or "nothing")
    weights = None
    if parent.is_file() and sha256(parent) == spec.provenance.get("parent_sha256"):
        try:
            weights = parent_weights(read_heads(parent))
        except (CalibrationError, ModelError):
            weights = None  # the FP32 file has another graph, so only the 8-bit weights can be used
    model, before = read_model(source), read_model(source)
    number, of_parent = with_seven_bits(model, weights)
    corrected = absorb_shift(model, before, _images_of_proof(source, spec))
    path = scratch / source.name
    onnx.save(model, path)
    return path, f"{of_parent} of {number} from the FP32 weights, {corrected} biases corrected by the proof's images"


def _images_of_proof(source: Path, spec: ModelSpec) -> list[npt.NDArray[np.float32]]:
    """Read the proof's images as they enter the network; none if the heads carry no proof."""
    packed = read_proof(source)
    return [preprocess(image, spec) for image in Proof.unpack(packed, spec).images] if packed else []
