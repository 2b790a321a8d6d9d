"""Read the description of a model that someone else trained: a ModelSpec, written by hand as JSON."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from ssd_edge.boxes import cell_sizes
from ssd_edge.data.finding import nfc
from ssd_edge.errors import ModelError, SpecError
from ssd_edge.files import LFS_ADVICE, is_lfs_pointer
from ssd_edge.graph.files import read_graph
from ssd_edge.graph.heads import spec_of
from ssd_edge.parsing import parse_json, shown
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
        content: Any = parse_json(path.read_bytes())
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        if is_lfs_pointer(path):
            raise SpecError(f"{path} {LFS_ADVICE}") from None
        raise SpecError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise SpecError(f"{path} must hold a JSON object, but holds {type(content).__name__}")
    missing = [name for name in ("labels", "input_size", "mean", "std", "levels") if name not in content]
    if missing:
        raise SpecError(f"{path} lacks {', '.join(missing)}: ssd-edge import-onnx --help shows an example")
    unknown = set(content) - {field.name for field in fields(ModelSpec)} - {"spec_version"}
    if unknown:
        raise SpecError(
            f"{path} holds {', '.join(sorted(unknown))[:200]}, which a model spec does not have: remove or rename it"
        )
    if not isinstance(content["levels"], list):
        raise SpecError(f"{path}: levels must be a list of feature maps, but got {shown(content['levels'])}")
    try:
        levels = [_level(level) for level in content["levels"]]
        if isinstance(labels := content["labels"], list):
            content["labels"] = [nfc(each) if isinstance(each, str) else each for each in labels]
        if "variances" in content:
            content["variances"] = _variances(content["variances"])
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


def _level(level: Any) -> dict[str, Any]:
    """Complete a level's step and sizes; the spec checks their values.

    Raises:
        SpecError: a key is missing or unknown, or a list has another length.
    """
    if not isinstance(level, dict) or "grid" not in level or ("boxes" in level) == ("sizes" in level):
        raise SpecError(f"each level needs grid, and either boxes or sizes, but got {shown(level)}")
    if unknown := set(level) - {"grid", "step", "boxes", "sizes"}:
        raise SpecError(f"a level has grid, step, boxes or sizes, but got {', '.join(sorted(unknown))[:200]}")
    grid, boxes = level["grid"], level.get("boxes", [])
    if not _numbers(grid, 2):
        raise SpecError(f"grid must be two whole numbers above 0, [rows, columns], but got {shown(grid)}")
    if "sizes" in level:
        sizes = level["sizes"]
        if not isinstance(sizes, list) or not sizes or not all(_numbers(size, 2) for size in sizes):
            raise SpecError(
                f"sizes must be a list of [width, height] in fractions of the image, but got {shown(sizes)}"
            )
    elif not isinstance(boxes, list) or not boxes or not all(_numbers(box, 2) for box in boxes):
        raise SpecError(f"boxes must be a list of [scale, ratio], both above 0, but got {shown(boxes)}")
    else:
        # cell_sizes gives the square, the extra square, then √a : 1/√a and its inverse; only the third is needed.
        sizes = [list(cell_sizes(scale, scale, (ratio,))[2]) for scale, ratio in boxes]
    return {"grid": grid, "step": level.get("step", [1 / grid[0], 1 / grid[1]]), "sizes": sizes}


def _numbers(values: object, length: int) -> bool:
    """Tell whether a value is a list of that many numbers above 0, of a size that a float can hold."""
    return (
        isinstance(values, list)
        and len(values) == length
        and all(isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e30 for value in values)
    )


def _variances(given: Any) -> Any:
    """Read variances as SSD's code writes them, [0.1, 0.2], also once for each value, or as their reciprocals.

    Four values belong to x, y, width, height (or y, x, height, width). torchvision's ``weights`` (10, 10, 5, 5), and
    the ``x_scale`` … of TensorFlow's detection API and of MediaPipe, are reciprocals. They are understood if there are
    four; two values above 1 may be either, and are refused.

    Raises:
        SpecError: the values cannot be variances.
    """
    if not _numbers(given, 2) and not _numbers(given, 4):
        raise SpecError(
            "variances must be two numbers above 0, of centre and size, or four, of x, y, width, height, "
            f"but got {shown(given)}"
        )
    if len(given) == 4 and (given[0] != given[1] or given[2] != given[3]):
        raise SpecError(f"x and y must have one variance, and width and height one, but got variances {given!r}")
    centre, size = given[0], given[-1]
    if max(centre, size) <= 1:
        return [centre, size]
    if len(given) == 2 or min(centre, size) < 1:
        raise SpecError(
            f"variances are factors, usually 0.1 and 0.2, but got {given!r}: for weights or scales, as torchvision, "
            f"TensorFlow and MediaPipe write them, give [{1 / centre:.6g}, {1 / size:.6g}]"
        )
    return [1 / centre, 1 / size]
