"""Write a folder for Frigate's OpenVINO detector: the network with preprocess and decode inside, labels, configuration.

Frigate (frigate/detectors/plugins/openvino.py, frigate/object_detection/base.py, frigate/util/object.py) gives an SSD
one image, (1, H, W, 3) uint8, in the channel order that the configuration names, and takes one output of a fixed shape
[1, 1, N, 7]: image, class, score, x1, y1, x2, y2 as fractions of the image. It reads the first 20 rows, and stops at
the first whose score is too low: rows have to be ordered by score, and an empty one needs score 0 and a valid class.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import yaml  # type: ignore[import-untyped]

from ssd_edge.boxes import default_boxes
from ssd_edge.engines.bundle.manifest import Manifest, read_manifest
from ssd_edge.engines.deploy.plan import serving_name, write
from ssd_edge.engines.openvino import core, version
from ssd_edge.errors import BackendError
from ssd_edge.hints import command
from ssd_edge.spec import ModelSpec

try:
    import openvino.opset8 as ops
except ImportError:  # OpenVINO 2024
    import openvino.runtime.opset8 as ops

CONFIGURATION = "frigate.yml"
LABELS = "labelmap.txt"


def export(bundle: Path, folder: Path) -> Path:
    """Write the folder.

    Args:
        bundle: an engine bundle with a plan of backend openvino.
        folder: the folder to make.

    Raises:
        BundleError: the folder is not a bundle, or was altered.
        BackendError: it has no plan of OpenVINO, or the folder exists and is not empty.
    """
    manifest, name = read_manifest(bundle), serving_name(bundle)
    heads, precision = _plan(bundle, manifest)
    texts = {
        CONFIGURATION: configuration(manifest.spec, name),
        LABELS: labelmap(manifest.spec),
        "README.md": page(manifest.spec, name, precision),
    }
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / f"{name}.xml"
        openvino.save_model(detector(core().read_model(str(heads)), manifest.spec), str(model), compress_to_fp16=False)
        write(folder, texts, {path.name: path for path in (model, model.with_suffix(".bin"))})
    return folder


def _plan(bundle: Path, manifest: Manifest) -> tuple[Path, str]:
    """Find the IR of a bundle, and its precision."""
    plan = next((plan for plan in manifest.plans if plan.backend == "openvino"), None)
    if plan is None:
        present = " and ".join(dict.fromkeys(plan.backend for plan in manifest.plans)) or "nothing"
        onnx = manifest.provenance.get("onnx", "HEADS.onnx")
        build = command("build-engine", onnx, "--backend", "openvino", "--add", "--output", bundle)
        raise BackendError(f"Frigate runs plans of OpenVINO, and {bundle} holds {present}: {build}")
    return bundle / plan.files[0], plan.precision


def detector(heads: Any, spec: ModelSpec) -> Any:
    """Make a model for Frigate of heads.

    Args:
        heads: an ``openvino.Model`` with input (1, 3, H, W) and outputs ``loc`` and ``logits``; it is changed.
        spec: gives preprocess and decode.

    Returns:
        An ``openvino.Model``: (1, H, W, 3) uint8 in the spec's channel order → (1, 1, N, 7) float32, N being the spec's
        ``max_detections``.
    """
    heads.reshape([1, 3, *spec.input_size])
    pixels = ops.parameter([1, *spec.input_size, 3], np.uint8, "image")
    (network_input,) = heads.inputs
    network_input.replace(_normalised(pixels, spec).output(0))
    loc, logits = (heads.output(name).get_node().input_value(0) for name in ("loc", "logits"))
    found = _ordered(_detections(loc, logits, spec), spec.max_detections)
    found.output(0).set_names({"detections"})
    return openvino.Model([found], [pixels], "ssd_edge")


def _normalised(pixels: Any, spec: ModelSpec) -> Any:
    """Build (pixel − mean) / std, as ``ssd_edge.preprocess`` computes it; the channels are in the network's order."""
    planes = ops.convert(ops.transpose(pixels, _constant([0, 3, 1, 2], np.int64)), "f32")
    mean, std = (np.asarray(values, np.float32).reshape(1, 3, 1, 1) for values in (spec.mean, spec.std))
    return ops.divide(ops.subtract(planes, mean), std)


def _detections(loc: Any, logits: Any, spec: ModelSpec) -> Any:
    """Build scores, boxes and NMS as ``ssd_edge.decode`` has them: (1, 1, N, 7), in no order across classes."""
    if spec.box_order == "yxhw":
        loc = ops.gather(loc, _constant([1, 0, 3, 2], np.int64), _constant(2, np.int64))
    scores = ops.softmax(logits, axis=2) if spec.score_function == "softmax" else ops.sigmoid(logits)
    flat = _constant([1, -1], np.int64)
    attributes = {
        "background_label_id": 0,
        "top_k": spec.top_k,
        "keep_top_k": [spec.max_detections],
        "code_type": "caffe.PriorBoxParameter.CENTER_SIZE",
        "share_location": True,
        "nms_threshold": spec.nms_iou,
        "confidence_threshold": spec.score_threshold,
        "clip_before_nms": spec.clip_boxes == "before-nms",
        "clip_after_nms": True,
        "normalized": True,
    }
    return ops.detection_output(
        ops.reshape(loc, flat, False), ops.reshape(scores, flat, False), _priors(spec), attributes
    )


def _priors(spec: ModelSpec) -> Any:
    """Give default boxes and variances in the form of DetectionOutput, (1, 2, 4A): xyxy, then one variance a value."""
    defaults = default_boxes(spec).astype(np.float64)
    centre, half = defaults[:, :2], defaults[:, 2:] / 2
    corners = np.concatenate([centre - half, centre + half], axis=1)
    variances = np.tile(np.repeat(spec.variances, 2), len(defaults))
    return _constant(np.stack([corners.reshape(-1), variances])[None], np.float32)


def _ordered(rows: Any, number: int) -> Any:
    """Order rows by score, best first; empty ones get class 0 and score 0, and labels are counted from 0."""
    table, lengths = ops.reshape(rows, _constant([number, 7], np.int64), False), _constant([1, 1, 1, 4], np.int64)
    image, label, score, box = ops.variadic_split(table, _constant(1, np.int64), lengths).outputs()
    zero = _constant(0.0, np.float32)
    is_row = ops.greater_equal(image, zero)
    # from the first empty row on, DetectionOutput may leave anything
    ends = ops.convert(ops.logical_not(is_row), "f32")
    filled = ops.less(ops.cum_sum(ends, _constant(0, np.int64)), _constant(0.5, np.float32))
    score = ops.select(filled, score, zero)
    label = ops.select(filled, ops.subtract(label, _constant(1.0, np.float32)), zero)
    box = ops.select(filled, box, zero)
    image = ops.multiply(score, zero)
    flat = ops.reshape(score, _constant([number], np.int64), False)
    best = ops.topk(flat, _constant(number, np.int64), 0, "max", "value", "i64")
    rows = ops.gather(ops.concat([image, label, score, box], 1), best.output(1), _constant(0, np.int64))
    return ops.reshape(rows, _constant([1, 1, number, 7], np.int64), False)


def _constant(value: Any, kind: Any) -> Any:
    return ops.constant(np.asarray(value, kind))


def labelmap(spec: ModelSpec) -> str:
    """Format the labels with their numbers: without, Frigate takes a first label that begins with a number for one."""
    return "".join(f"{number} {' '.join(label.split())}\n" for number, label in enumerate(spec.labels))


def configuration(spec: ModelSpec, name: str) -> str:
    """Format the part of Frigate's configuration that concerns the model."""
    height, width = spec.input_size
    labels = [" ".join(label.split()) for label in spec.labels]
    folder = f"/config/models/{name}"
    content: dict[str, Any] = {
        "detectors": {"ov": {"type": "openvino", "device": "CPU"}},
        "model": {
            "model_type": "ssd",
            "path": f"{folder}/{name}.xml",
            "labelmap_path": f"{folder}/{LABELS}",
            "width": width,
            "height": height,
            "input_tensor": "nhwc",
            "input_pixel_format": spec.channel_order,
            "input_dtype": "int",
        },
        "objects": {"track": labels},
    }
    if spec.operating_scores:
        # min_score lets an object begin to be followed; threshold is what the median of its scores must reach
        content["objects"]["filters"] = {
            " ".join(label.split()): dict.fromkeys(("min_score", "threshold"), round(float(score), 4))
            for label, score in spec.operating_scores.items()
        }
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def page(spec: ModelSpec, name: str, precision: str) -> str:
    """Format the page on how to install the folder."""
    height, width = spec.input_size
    return f"""\
# {name} in Frigate

Made by `ssd-edge export-deploy` with OpenVINO {version()}, from a plan in {precision}. Preprocess, decode
and NMS are inside `{name}.xml`. Frigate itself has not run it yet; the same calls of OpenVINO have.

1. Copy this folder to Frigate's `/config/models/{name}`.
2. Put the lines of `{CONFIGURATION}` into Frigate's configuration, and restart it. `device: GPU` is an Intel GPU.

Frigate gives the model square parts of the picture in which something moved, scaled to {width}×{height}; a model that
was trained on whole pictures sees larger objects there. It reads the best 20 detections of each. An object is followed
from the `min_score` of its label's filter on, and counts once the median of its scores is above `threshold`; without a
filter, Frigate takes 0.5 and 0.7. Of the labels, only those under `track` are followed.
{"" if spec.resize == "linear" else _AVERAGING}"""


_AVERAGING = """
The model was trained on pictures made smaller by averaging; Frigate interpolates. Measure what that costs.
"""
