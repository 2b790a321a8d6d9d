"""AP of two models with frames resized in both ways: which model gains from averaging, and how much."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from building import SSDLITE300
from figure import Figure, real_data

from ssd_edge.engines.cpu.exact import open_exact
from ssd_edge.evaluation.model import evaluate_model
from ssd_edge.export import export_onnx
from ssd_edge.importing import import_onnx
from ssd_edge.resize import RESIZES
from ssd_edge.training.checkpoints import load_checkpoint

SETS = {
    "pedestrian, coco128": ("pedestrian", "data/coco128_yolo", ""),
    "pedestrian, tiny_coco val": ("pedestrian", "data/tiny_coco", "val2017"),
    "pedestrian, tiny_coco train": ("pedestrian", "data/tiny_coco", "train2017"),
    "SSDLite, BCCD test": ("SSDLite", "data/bccd", "test"),
}


def measure() -> Figure:
    """Return the largest gain in AP50, in points."""
    measured: dict[str, dict[str, tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        heads = {"pedestrian": Path(scratch) / "pedestrian.onnx", "SSDLite": Path(scratch) / "ssdlite.onnx"}
        raw = real_data("weights/pedestrian_ssdlite/pedestrian_300_raw.onnx")
        specs = {
            "pedestrian": import_onnx(
                raw, Path(__file__).parent / "specs" / "pedestrian_ssdlite.json", heads["pedestrian"]
            ),
            "SSDLite": export_onnx(load_checkpoint(SSDLITE300).eval(), heads["SSDLite"]),
        }
        for name, (model, data, split) in SETS.items():
            for how in RESIZES:
                spec = replace(specs[model], resize=how)
                with closing(open_exact(heads[model], spec)) as engine:
                    result, _ = evaluate_model(engine, real_data(data), split)
                measured.setdefault(name, {})[how] = 100 * (result.ap or 0.0), 100 * (result.voc_map50 or 0.0)
    gains = {name: one["area"][1] - one["linear"][1] for name, one in measured.items()}
    said = (
        f"{name}: AP {one['linear'][0]:.2f} → {one['area'][0]:.2f}, AP50 {one['linear'][1]:.2f} → {one['area'][1]:.2f}"
        for name, one in measured.items()
    )
    best = max(gains.values())
    return Figure(
        "resize-area", best, "points of AP50 gained by area, at most", "> 0", best > 0, measured, "; ".join(said)
    )
