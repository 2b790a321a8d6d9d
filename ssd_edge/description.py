"""Read the description of a model that someone else trained: a ModelSpec, written by hand as JSON."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from ssd_edge.boxes import cell_sizes
from ssd_edge.errors import ModelError, SpecError
from ssd_edge.graph.files import read_graph
from ssd_edge.graph.heads import spec_of
from ssd_edge.spec import SPEC_VERSION, ModelSpec


def read_description(path: Path) -> ModelSpec:
    """Read a ModelSpec written by hand as JSON; only five of its fields are required.

    They are ``labels``, ``input_size`` [height, width], ``mean`` and ``std`` in grey levels, and ``levels``: a list of
    feature maps, each with ``grid`` [rows, columns] and its boxes as ``boxes`` [[scale, ratio], …] (w = s·√a, h = s/√a)
    or as ``sizes`` [[width, height], …] in fractions of the image; ``step`` is 1/grid by default.

    An ONNX file with a spec in it can be given instead, for heads of this project that another tool has quantized,
    which loses the spec.

    Raises:
        SpecError: the file does not exist, is not JSON, or is not a valid spec.
    """
    if path.suffix == ".onnx":
        return _spec_of(path)
    try:
        content: Any = json.loads(path.read_text())
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise SpecError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise SpecError(f"{path} must hold a JSON object, but holds {type(content).__name__}")
    missing = [name for name in ("labels", "input_size", "mean", "std", "levels") if name not in content]
    if missing:
        raise SpecError(f"{path} lacks {', '.join(missing)}: ssd-edge import-onnx --help shows an example")
    unknown = set(content) - {field.name for field in fields(ModelSpec)} - {"spec_version"}
    if unknown:
        raise SpecError(
            f"{path} holds {', '.join(sorted(unknown))}, which a model spec does not have: remove or rename it"
        )
    try:
        levels = [_level(level) for level in content["levels"]]
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise SpecError(f"{path}: each level needs grid, and boxes or sizes, but one lacks them: {error!r}") from None
    try:
        return ModelSpec.from_json(
            {"architecture": "imported", "spec_version": SPEC_VERSION, **content, "levels": levels}
        )
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _spec_of(path: Path) -> ModelSpec:
    try:
        spec = spec_of(read_graph(path))
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except ModelError as error:
        raise SpecError(str(error)) from None
    if spec is None:
        raise SpecError(f"{path} carries no model spec: give a description as JSON, or heads made by ssd-edge")
    return spec


def _level(level: dict[str, Any]) -> dict[str, Any]:
    rows, columns = level["grid"]
    sizes = level.get("sizes")
    if sizes is None:
        # cell_sizes gives the square, the extra square, then √a : 1/√a and its inverse; only the third is needed.
        sizes = [cell_sizes(scale, scale, (ratio,))[2] for scale, ratio in level["boxes"]]
    return {"grid": (rows, columns), "step": level.get("step", (1 / rows, 1 / columns)), "sizes": sizes}
