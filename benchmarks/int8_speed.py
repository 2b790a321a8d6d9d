"""Speed of INT8 compared with FP32, on OpenVINO, in turns on this CPU.

Networks are untrained, since speed does not depend on the weights.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from figure import LABELS, Figure

from ssd_edge.calibration.closest import calibrate_closest
from ssd_edge.calibration.job import Job
from ssd_edge.cli.common import how_fast
from ssd_edge.data.images import preprocessed, sample_images
from ssd_edge.engines.openvino import OpenVinoEngine
from ssd_edge.export import export_onnx
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.speed import images_per_second

GOALS = {"ssd300_vgg16": 1.7, "ssdlite300_mobilenet_v2": 1.0, "ssdlite320_mobilenet_v3_large": 1.0}
IMAGES = 4  # calibration images; the scales do not change the result


def measure() -> Figure:
    """Measure how many times as fast INT8 is as FP32: the figure is for SSD300-VGG16, with the SSDLites beside it."""
    detail, factors = {}, {}
    for model in GOALS:
        with tempfile.TemporaryDirectory() as folder:
            heads, int8 = Path(folder) / "heads.onnx", Path(folder) / "int8.onnx"
            spec = export_onnx(make_network(make_spec(model, LABELS)), heads)
            images = list(sample_images(None, IMAGES))
            calibrate_closest(Job(heads, lambda: preprocessed(images, spec), spec), int8)  # noqa: B023
            engines = OpenVinoEngine(heads, spec, "FP32"), OpenVinoEngine(int8, spec, "INT8")
            fp32_rate, int8_rate = images_per_second(engines)
            for engine in engines:
                engine.close()
        factors[model] = int8_rate / fp32_rate
        detail[model] = {"FP32": fp32_rate, "INT8": int8_rate, "what calibrate says": how_fast(fp32_rate, int8_rate)[0]}
    first, *others = GOALS
    return Figure(
        "int8-speed",
        factors[first],
        f"times the images/s of FP32, {first}, OpenVINO",
        f">= {GOALS[first]}, and the SSDLites not slower, or told to stay with FP32",
        all(factors[model] >= goal for model, goal in GOALS.items()),
        detail,
        ", ".join(f"{model} {factors[model]:.2f}" for model in others),
    )
