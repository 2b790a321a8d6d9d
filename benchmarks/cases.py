"""The small inputs of shared/cases, each compared with the behaviour that the table there calls right."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import case_expectations as right
import figure

Expectation = Callable[[Path, Path], None]

LAYOUTS = {
    "cvat_nested": "CVAT|VOC",
    "darknet": "Darknet|obj.data",
    "images_annotations": "VOC",
    "label_studio": "Label Studio|COCO",
    "labelimg_voc": "LabelImg|VOC",
    "labelimg_yolo": "LabelImg|YOLO",
    "plain_json": "COCO",
    "roboflow_voc": "Roboflow|VOC",
    "yaml_deep": "YOLO",
}
"""What a sentence may call each layout that is not read."""

CASES: dict[str, Expectation] = {
    **{f"02-declared-size/{name}": partial(right.is_listed, pattern="size-mismatch") for name in ("voc", "coco")},
    **{f"03-fractions/{name}": partial(right.is_listed, pattern="") for name in ("voc", "coco")},
    "04-pose-columns/pose2d": partial(right.is_read, labels=("quadruped",)),
    "04-pose-columns/track": right.is_box_or_sentence,
    "05-broken-val/voc": right.says_parts,
    "05-broken-val/coco": right.refuses_broken_split,
    "06-yaml-splits/txt": partial(
        right.keeps_splits, train_names=right.numbers((0, 5)), val_names=right.numbers((6, 8))
    ),
    "06-yaml-splits/val_only": partial(
        right.keeps_splits, train_names=right.numbers((0, 3), (10, 13)), val_names=right.numbers((20, 23))
    ),
    "06-yaml-splits/capitals": partial(
        right.keeps_splits, train_names=right.numbers((0, 3)), val_names=right.numbers((10, 13))
    ),
    "07-copies-held-out": right.separates_copies,
    "07b-copies-two-splits": right.lists_copies,
    "08-all-crowd/coco": right.refuses_nothing,
    "09-no-object": right.is_voc,
    "10-val-without-object/held_out": right.holds_out_objects,
    "10-val-without-object/val": right.says_undefined,
    "11-video-bad-packet/middle.avi": partial(right.plays, damaged=3),
    "11-video-bad-packet/sound.avi": right.plays,
    "12-colon-in-name/12:30:05.mp4": right.plays,
    "13-jpeg-ends/trailing": right.is_read,
    "13-jpeg-ends/cut": right.is_left_out,
    "14-twelve-bits": partial(right.is_listed, pattern=r"\b(3900|4095)\b"),
    "15-webp-exif": right.same_picture,
    "16-decode-inside/decoded.onnx": partial(right.is_refused, pattern="decoded"),
    "16-decode-inside/raw.onnx": right.is_imported,
    **{f"17-softmax-twice/{name}.onnx": right.has_one_softmax for name in ("fp32", "fp16", "by_hand")},
    "18-nms-inside/with_post.onnx": partial(right.is_refused, pattern=r"NonMaxSuppression.*\bexport\b"),
    "18-nms-inside/with_plugin.onnx": partial(right.is_refused, pattern=r"EfficientNMS.*\bexport\b"),
    "19-yaml-names/words": partial(right.is_read, images=3, labels=("yes", "no")),
    "19-yaml-names/numbers": partial(right.is_read, images=3, labels=("007", "010", "1:30")),
    "20-root-category": right.leaves_root_out,
    **{f"21-layouts/{name}": partial(right.is_read_or_named, name=pattern) for name, pattern in LAYOUTS.items()},
    **{f"22-coco-by-script/{name}": right.is_read for name in ("string_ids", "float_ids", "segments", "one_bad")},
    **{f"23-hints/{name}": right.hints_work for name in ("dup", "two")},
    "24-long-name": right.writes_all,
    "25-stray-picture": right.uses_data_set,
    "26-xml-encodings/euc_kr": partial(right.is_read, images=3, labels=("불량",)),
    "26-xml-encodings/gbk": partial(right.is_read, images=3, labels=("螺栓",)),
    "27-nfd-names": partial(right.is_read, images=3),
    "28-difficult-words": right.none_is_difficult,
}
"""The expectation for each input, by its path in shared/cases."""


def wrong_with(expectation: Expectation, path: Path) -> str:
    """Return what is wrong with the behaviour on an input; "" if nothing is."""
    with TemporaryDirectory() as folder:
        try:
            expectation(path, Path(folder))
        except right.WrongError as error:
            return str(error)
        except Exception as error:  # whatever else a broken program raises is wrong too
            return f"{type(error).__name__}: {error}"
    return ""


def measure(only: Iterable[str] = CASES) -> figure.Figure:
    """Compare the behaviour on each input with the right one."""
    folder = figure.real_data("cases")
    wrong, seconds = {}, {}
    for name in only:
        began = perf_counter()
        if sentence := wrong_with(CASES[name], folder / name):
            wrong[name] = sentence
        seconds[name] = round(perf_counter() - began, 1)
    took = sum(seconds.values())
    return figure.Figure(
        "cases",
        len(seconds) - len(wrong),
        f"of {len(seconds)} inputs are treated right",
        "all",
        not wrong,
        {"wrong": wrong, "seconds": seconds},
        f"{took:.0f} s; wrong: {', '.join(wrong) or 'none'}",
    )
