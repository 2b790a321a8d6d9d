"""AP50 of people on coco128 for a model trained outside this project, compared with a figure measured elsewhere."""

from __future__ import annotations

import tempfile
from pathlib import Path

from figure import Figure, exact_ap, real_data

from ssd_edge.calibration.closest import calibrate_closest
from ssd_edge.calibration.job import Job
from ssd_edge.data.images import image_files, preprocessed, sample_images
from ssd_edge.importing import import_onnx

INDEPENDENT = 0.372
TOLERANCE = 0.005
CALIBRATION_IMAGES = 64


def measure() -> Figure:
    """Import the model, calibrate it, and measure FP32 and INT8 exactly."""
    data = real_data("data/coco128_yolo")
    source = real_data("weights/pedestrian_ssdlite/pedestrian_300_raw.onnx")
    description = Path(__file__).parent / "specs" / "pedestrian_ssdlite.json"
    with tempfile.TemporaryDirectory() as scratch:
        heads, int8 = Path(scratch) / "heads.onnx", Path(scratch) / "heads.int8.onnx"
        spec = import_onnx(source, description, heads)
        images = list(sample_images(data, CALIBRATION_IMAGES))
        outcome = calibrate_closest(Job(heads, lambda: preprocessed(images, spec), spec), int8)
        ap = {name: exact_ap(onnx, data) for name, onnx in (("FP32", heads), ("INT8", int8))}
    value = ap["FP32"].ap50 or 0.0
    detail = {
        name: {"AP50": one.ap50, "AP": one.ap, "people": one.per_class[0].num_objects} for name, one in ap.items()
    }
    detail["images"] = {"evaluated": len(image_files(data)), "calibrated with": outcome.num_images}
    return Figure(
        "pedestrian",
        value,
        "AP50 of people, FP32",
        f"{INDEPENDENT} ± {TOLERANCE}",
        abs(value - INDEPENDENT) <= TOLERANCE,
        detail,
        f"INT8 {ap['INT8'].ap50 or 0:.3f}; AP {ap['FP32'].ap or 0:.3f}, INT8 {ap['INT8'].ap or 0:.3f}",
    )
