"""ModelSpec: everything about a model except its weights. It travels in the checkpoint, ONNX file and bundle."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from ssd_edge.errors import SpecError
from ssd_edge.parsing import parse_json, shown

ChannelOrder = Literal["rgb", "bgr"]
BoxOrder = Literal["xywh", "yxhw"]
ScoreFunction = Literal["softmax", "sigmoid"]
Resize = Literal["linear", "area"]
ClipBoxes = Literal["after-nms", "before-nms"]
Clip = bool | Literal["cxcywh"]

SPEC_VERSION = 2
"""The newest version that this program reads; a spec is written as the oldest version that can hold it.

Version 2 has ``"clip": "cxcywh"``.
"""
METADATA_KEY = "ssd_edge.spec"
"""Key of the spec's JSON in a checkpoint and in an ONNX file's ``metadata_props``."""

# Widths of the fields of decode's 64-bit sort keys, which hold score, class and box index of a candidate.
MAX_DEFAULT_BOXES = 1 << 20
MAX_CLASSES = 1 << 12

# What a spec may declare beyond that: a damaged or hostile one must not take all memory.
MAX_SIDE = 1 << 12
MAX_LOGITS = 1 << 26
MAX_LABEL_LENGTH = 1000


@dataclass(frozen=True)
class DefaultBoxLevel:
    """The default boxes of one feature map (paper section 2.2).

    Attributes:
        grid: rows and columns of the feature map.
        step: distance between neighbouring cells, (vertical, horizontal), as a fraction of the image;
            1/rows and 1/columns in the paper's formula, but slightly different in the published SSD300.
        sizes: (width, height) of each box of a cell, as fractions of the image.
    """

    grid: tuple[int, int]
    step: tuple[float, float]
    sizes: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        holds = (
            _are(numbers.Integral, self.grid, 2)
            and _are(numbers.Real, self.step, 2)
            and isinstance(self.sizes, list | tuple)
            and len(self.sizes) >= 1
            and all(_are(numbers.Real, size, 2) for size in self.sizes)
            and min(self.grid) >= 1
            and all(math.isfinite(n) and n > 0 for n in (*self.step, *(side for size in self.sizes for side in size)))
        )
        if not holds:
            raise SpecError(
                "a default-box level needs a grid [rows, columns], a step [vertical, horizontal] and sizes "
                f"[[width, height], …], all above 0, but got {shown(self)}"
            )

    @property
    def count(self) -> int:
        """Number of default boxes of this level."""
        return self.grid[0] * self.grid[1] * len(self.sizes)


@dataclass(frozen=True)
class ModelSpec:
    """The facts about a model that every step after training needs; checked on creation.

    Attributes:
        architecture: a key of ``MODELS`` or ``IMPORTED`` in ``ssd_edge/models/catalogue.py``, or ``imported``.
        input_size: (height, width) of the network's input, in pixels.
        channel_order: channel order of the network's input; frames are BGR.
        mean: per channel of the input, in grey levels; the input is (pixel − mean) / std.
        std: per channel of the input, in grey levels.
        resize: how frames are resized to the input, bilinear or by averaging larger frames, see ``ssd_edge.resize``.
        labels: class names; class 0 of the logits is background and has no name here.
        levels: default boxes, in the order in which the heads emit them.
        clip: whether default boxes are clipped to the image; those of the published models are not. With ``cxcywh``,
            each of centre x, centre y, width and height is clipped to 0 … 1, as in ssd.pytorch and its descendants.
        box_order: order of the four regression values: centre x, y, width, height or y, x, height, width.
        score_function: softmax over classes, or a sigmoid for each.
        variances: variances of centre and size (0.1 and 0.2 as published).
        clip_boxes: whether decoded boxes are clipped to the image after NMS, as the paper's code does, or before it, as
            torchvision does.
        score_threshold: detections have a score above it.
        nms_iou: of two boxes of a class with a higher IoU than this, the one with the lower score is dropped.
        top_k: largest number of candidates of a class that enter NMS; the best are kept.
        max_detections: largest number of detections in an image; the best are kept.
        operating_scores: by label, the lowest score that ``run`` shows; labels without an entry use the caller's
            score, see ``operating_score_of_each``.
        provenance: parent's SHA-256, data set, tool versions: strings for people and audits.

    Raises:
        SpecError: a value is out of range, or two of them contradict each other.
    """

    architecture: str
    input_size: tuple[int, int]
    labels: tuple[str, ...]
    levels: tuple[DefaultBoxLevel, ...]
    channel_order: ChannelOrder = "rgb"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    resize: Resize = "linear"
    clip: Clip = False
    box_order: BoxOrder = "xywh"
    score_function: ScoreFunction = "softmax"
    variances: tuple[float, float] = (0.1, 0.2)
    clip_boxes: ClipBoxes = "after-nms"
    score_threshold: float = 0.01
    nms_iou: float = 0.45
    top_k: int = 400
    max_detections: int = 200
    operating_scores: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_types()
        self._check_sizes()
        self._check_choices()
        self._check_values()

    def _check_sizes(self) -> None:
        """Check that the input, the labels and the default boxes are some, and not too many."""
        _require(
            (
                min(self.input_size) >= 1 and max(self.input_size) <= MAX_SIDE,
                f"input_size must be 1 … {MAX_SIDE} pixels, but got {shown(self.input_size)}",
            ),
            (
                all(len(label) <= MAX_LABEL_LENGTH for label in self.labels),
                f"a label has at most {MAX_LABEL_LENGTH} characters, but one has {max(map(len, self.labels or ['']))}",
            ),
            (len(self.labels) >= 1, "labels must name at least one class"),
            (len(set(self.labels)) == len(self.labels), f"labels must differ, but got {shown(self.labels)}"),
            (len(self.labels) < MAX_CLASSES, f"at most {MAX_CLASSES - 1} labels, but got {len(self.labels)}"),
            (len(self.levels) >= 1, "levels must hold at least one feature map"),
            (
                all(self._lies_like_the_input(level.grid) for level in self.levels),
                (
                    "grids are [rows, columns] and input_size is [height, width], so the longer side has more cells, "
                    f"but got {shown([list(one.grid) for one in self.levels])} for {shown(list(self.input_size))}"
                ),
            ),
            (
                self.num_default_boxes < MAX_DEFAULT_BOXES,
                f"fewer than {MAX_DEFAULT_BOXES} default boxes, but got {self.num_default_boxes}",
            ),
            (
                self.num_default_boxes * self.num_classes <= MAX_LOGITS,
                f"at most {MAX_LOGITS} scores of default boxes, but got {self.num_default_boxes} × {self.num_classes}",
            ),
        )

    def _lies_like_the_input(self, grid: tuple[int, int]) -> bool:
        """Tell whether a grid is not taller than wide for a wide input, nor the other way round: sides swapped."""
        return (grid[0] - grid[1]) * (self.input_size[0] - self.input_size[1]) >= 0

    def _check_choices(self) -> None:
        """Check the entries that are one of a few words."""
        words = {
            "channel_order": ChannelOrder,
            "resize": Resize,
            "box_order": BoxOrder,
            "score_function": ScoreFunction,
            "clip_boxes": ClipBoxes,
        }
        for name, choice in words.items():
            value = getattr(self, name)
            _require((value in get_args(choice), f"{name} must be one of {get_args(choice)}, but got {shown(value)}"))

    def _check_values(self) -> None:
        """Check the ranges of numbers."""
        _require(
            (
                all(map(math.isfinite, (*self.mean, *self.std))),
                f"mean and std must be three numbers each, but got {shown(self.mean)} and {shown(self.std)}",
            ),
            (min(self.std) > 0, f"std must be above 0, but got {shown(self.std)}"),
            (
                all(math.isfinite(v) and v > 0 for v in self.variances),
                f"variances must be two numbers above 0, but got {shown(self.variances)}",
            ),
            (
                0 < self.score_threshold < 1,
                f"score_threshold must lie between 0 and 1, but got {self.score_threshold}",
            ),
            (0 < self.nms_iou <= 1, f"nms_iou must lie in 0 … 1, but got {self.nms_iou}"),
            (
                isinstance(self.top_k, int) and 1 <= self.top_k <= MAX_LOGITS,
                f"top_k must be a whole number from 1 to {MAX_LOGITS}, but got {shown(self.top_k)}",
            ),
            (
                isinstance(self.max_detections, int) and 1 <= self.max_detections <= MAX_LOGITS,
                f"max_detections must be a whole number from 1 to {MAX_LOGITS}, but got {shown(self.max_detections)}",
            ),
            (
                self.operating_scores.keys() <= set(self.labels)
                and all(0 < score <= 1 for score in self.operating_scores.values()),
                (
                    "operating_scores must be numbers above 0 and up to 1 by label, "
                    f"but got {shown(dict(self.operating_scores))} for labels {shown(self.labels)}"
                ),
            ),
        )

    def _check_types(self) -> None:
        """Check types and lengths, so that the other checks can compare values."""
        whole, real = numbers.Integral, numbers.Real
        checks = (
            ("architecture", isinstance(self.architecture, str), "a name"),
            ("input_size", _are(whole, self.input_size, 2), "two whole numbers, [height, width]"),
            ("labels", _are(str, self.labels), "a list of names in quotes"),
            ("levels", _are(DefaultBoxLevel, self.levels), "a list of default-box levels"),
            ("mean", _are(real, self.mean, 3), "three numbers"),
            ("std", _are(real, self.std, 3), "three numbers"),
            ("clip", isinstance(self.clip, bool) or self.clip == "cxcywh", 'true, false or "cxcywh"'),
            ("variances", _are(real, self.variances, 2), "two numbers above 0"),
            ("score_threshold", _are(real, [self.score_threshold]), "a number"),
            ("nms_iou", _are(real, [self.nms_iou]), "a number"),
            ("top_k", _are(whole, [self.top_k]), "a whole number"),
            ("max_detections", _are(whole, [self.max_detections]), "a whole number"),
            (
                "operating_scores",
                isinstance(self.operating_scores, Mapping) and _are(real, list(self.operating_scores.values())),
                "numbers above 0 and up to 1 by label",
            ),
            ("provenance", isinstance(self.provenance, Mapping), "an object of texts"),
        )
        for name, holds, wanted in checks:
            if not holds:
                raise SpecError(f"{name} must be {wanted}, but got {shown(getattr(self, name))}")

    @property
    def num_default_boxes(self) -> int:
        """Number of default boxes: A in ``loc`` (B, A, 4) and ``logits`` (B, A, C)."""
        return sum(level.count for level in self.levels)

    @property
    def num_classes(self) -> int:
        """Number of classes with background: C in ``logits`` (B, A, C)."""
        return len(self.labels) + 1

    def operating_score_of_each(self, otherwise: float) -> tuple[float, ...]:
        """Return the lowest shown score of each label: its operating score, or ``otherwise`` if it has none."""
        return tuple(self.operating_scores.get(label, otherwise) for label in self.labels)

    def with_provenance(self, **facts: str) -> ModelSpec:
        """Return this spec with facts added to its provenance; they replace facts of the same name."""
        return replace(self, provenance={**self.provenance, **facts})

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {"spec_version": 2 if self.clip == "cxcywh" else 1, **asdict(self)}

    @classmethod
    def from_json(cls, value: object) -> ModelSpec:
        """Invert ``to_json``.

        Raises:
            SpecError: the value is not a spec, has another version, or is not valid.
        """
        if not isinstance(value, dict):
            raise SpecError(f"a model spec must be a JSON object, but got {type(value).__name__}")
        fields = dict(value)
        version = fields.pop("spec_version", None)
        if version not in range(1, SPEC_VERSION + 1) or isinstance(version, bool):
            raise SpecError(
                f"this model spec is of version {shown(version)}, but this ssd-edge reads 1 to {SPEC_VERSION}: "
                "export the model again, or install the ssd-edge that made it"
            )
        try:
            fields["levels"] = tuple(
                DefaultBoxLevel(
                    grid=_ints(level["grid"]),
                    step=_floats(level["step"]),
                    sizes=tuple(_floats(size) for size in level["sizes"]),
                )
                for level in fields["levels"]
            )
            fields["input_size"] = _ints(fields["input_size"])
            if isinstance(fields["labels"], list):
                fields["labels"] = tuple(fields["labels"])
            if isinstance(facts := fields.get("provenance"), dict):
                fields["provenance"] = {str(name): str(fact) for name, fact in facts.items()}
            for name in ("mean", "std", "variances"):
                if name in fields:
                    fields[name] = _floats(fields[name])
            return cls(**fields)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise SpecError(f"this is not a model spec of ssd-edge: {shown(error)}") from None

    @classmethod
    def from_text(cls, text: str) -> ModelSpec:
        """Read the JSON text that a checkpoint or an ONNX file carries.

        Raises:
            SpecError: the text is not JSON, or as in ``from_json``.
        """
        try:
            content = parse_json(text)
        except ValueError as error:
            raise SpecError(f"the model spec is not valid JSON: {error}") from None
        return cls.from_json(content)

    def to_text(self) -> str:
        """Write JSON text on one line, with keys in a fixed order."""
        return json.dumps(self.to_json(), sort_keys=True)


def _require(*checks: tuple[bool, str]) -> None:
    """Raise SpecError with the sentence of the first check that does not hold."""
    for holds, sentence in checks:
        if not holds:
            raise SpecError(sentence)


def _are(kind: type, values: object, length: int | None = None) -> bool:
    """Tell whether a list or tuple holds values of one kind, and that many; true and false are no numbers."""
    return (
        isinstance(values, list | tuple)
        and length in (None, len(values))
        and all(isinstance(value, kind) and not isinstance(value, bool) for value in values)
    )


def _ints(values: Any) -> Any:
    """Make a list of whole numbers, which JSON may write as 300.0, a tuple of int; leave anything else as it is."""
    if not _are(numbers.Real, values) or not all(float(value).is_integer() for value in values):
        return values
    return tuple(int(value) for value in values)


def _floats(values: Any) -> Any:
    """Make a list of numbers a tuple of float; leave anything else as it is."""
    return tuple(float(value) for value in values) if _are(numbers.Real, values) else values
