"""AP of the sample model on BCCD, real microscope photos, in FP32 and INT8."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from figure import Figure, exact_ap, real_data

from ssd_edge.calibration.closest import calibrate_closest
from ssd_edge.calibration.job import Job
from ssd_edge.data.images import preprocessed, sample_images
from ssd_edge.data.readers import open_dataset
from ssd_edge.evaluation import Evaluation
from ssd_edge.export import export_onnx
from ssd_edge.samples import SAMPLE_CHECKPOINT
from ssd_edge.training.checkpoints import load_checkpoint, save_checkpoint
from ssd_edge.training.recipe import Recipe
from ssd_edge.training.run import TrainingRun
from ssd_edge.training.train import train

RECIPE = Recipe(epochs=60)
CALIBRATION_IMAGES = 128


def measure(retrain: bool = False) -> Figure:
    """Evaluate the sample model; with ``retrain``, train it first."""
    data = real_data("data/bccd")
    if retrain:
        _train(data)
    network = load_checkpoint(SAMPLE_CHECKPOINT)
    with tempfile.TemporaryDirectory() as scratch:
        heads, int8 = Path(scratch) / "heads.onnx", Path(scratch) / "heads.int8.onnx"
        spec = export_onnx(network, heads, SAMPLE_CHECKPOINT)
        images = list(sample_images(data, CALIBRATION_IMAGES, "train"))
        calibrate_closest(Job(heads, lambda: preprocessed(images, spec), spec), int8)
        ap = {name: exact_ap(onnx, data, "test") for name, onnx in (("FP32", heads), ("INT8", int8))}
    fp32, int8_ap = ap["FP32"].voc_map50 or 0.0, ap["INT8"].voc_map50 or 0.0
    minutes = float(spec.provenance["training_seconds"]) / 60
    detail = {
        name: {"AP50 (VOC)": one.voc_map50, "AP": one.ap, **{c.label: c.voc_ap50 for c in one.per_class}}
        for name, one in ap.items()
    }
    detail["training"] = {"minutes": minutes, "threads": float(spec.provenance["training_threads"])}
    return Figure(
        "bccd",
        fp32,
        "AP50 (VOC) on the test images, FP32",
        ">= 0.80 after <= 60 minutes of training, INT8 within 0.01",
        fp32 >= 0.80 and abs(fp32 - int8_ap) <= 0.01 and minutes <= 60,
        detail,
        f"INT8 {int8_ap:.3f}; FP32, INT8 by class: {_classes(ap)}; {minutes:.0f} minutes of training",
    )


def _classes(ap: dict[str, Evaluation]) -> str:
    pairs = zip(ap["FP32"].per_class, ap["INT8"].per_class, strict=True)
    return ", ".join(f"{a.label} {a.voc_ap50 or 0:.3f}, {b.voc_ap50 or 0:.3f}" for a, b in pairs)


def _train(data: Path) -> None:
    backbone = real_data("weights/mobilenet_v2_imagenet/mobilenet_v2-b0353104.pth")
    with tempfile.TemporaryDirectory() as folder:
        training, validation = open_dataset(data, "train"), open_dataset(data, "val")
        trained = train(TrainingRun(training, validation, Path(folder), RECIPE), backbone_weights=backbone)
        network = load_checkpoint(trained.checkpoint)
    # FP16 halves the file, and changes the results far less than INT8 does.
    facts = {"training_seconds": f"{trained.seconds:.0f}", "training_threads": str(torch.get_num_threads())}
    save_checkpoint(SAMPLE_CHECKPOINT, network, network.spec.with_provenance(**facts), half=True)
