"""The models for INT8 figures, each with images to calibrate with and other images to measure on."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from building import SSDLITE300
from figure import real_data

from ssd_edge.calibration.job import Job
from ssd_edge.data.check import check_dataset
from ssd_edge.data.dataset import Image, Target, read_image
from ssd_edge.data.images import image_files, preprocessed, sample_images
from ssd_edge.data.readers import open_dataset
from ssd_edge.data.synthetic_dataset import write_dataset
from ssd_edge.detector import Heads
from ssd_edge.engines.cpu.exact import open_exact
from ssd_edge.engines.onnxruntime import OnnxRuntimeEngine
from ssd_edge.engines.openvino import OpenVinoEngine
from ssd_edge.evaluation import evaluate, measure_ap
from ssd_edge.export import export_onnx
from ssd_edge.importing import import_onnx
from ssd_edge.spec import ModelSpec
from ssd_edge.training.checkpoints import load_checkpoint
from ssd_edge.training.recipe import Optimiser, Recipe
from ssd_edge.training.run import TrainingRun
from ssd_edge.training.train import train

KEPT = Path(__file__).resolve().parents[1] / "build" / "benchmarks"
"""Folder for results that take long to make and do not change: the trained SSD300, and its data set."""

SSD300_CHECKPOINT = KEPT / "ssd300_vgg16.pt"
SSD300 = Recipe("ssd300_vgg16", epochs=60, batch_size=8, optimiser=Optimiser(lr=0.004), minutes=80)
SCENES = 400

SURE, UNSURE = 0.5, 0.05
"""Scores for images without hand-drawn boxes. FP32 detections of at least the first score count as the truth. Those
between the two scores need not be detected, but may be: FP32 itself does not know whether they are objects."""

SPECS = Path(__file__).parent / "specs"


@dataclass(frozen=True)
class Case:
    """A model and its images.

    Attributes:
        name: name in tables.
        heads: the FP32 heads.
        spec: the heads' ModelSpec.
        images: images to calibrate with, BGR; none of them is measured on.
        points: measures COCO's AP of heads on the other images, in points; AP75 if FP32 detections are the truth.
    """

    name: str
    heads: Path
    spec: ModelSpec
    images: list[Image]
    points: Callable[[Heads], float]

    @property
    def job(self) -> Job:
        """Calibration job with the default settings."""
        return Job(self.heads, lambda: preprocessed(self.images, self.spec), self.spec)


def cases(folder: Path) -> Iterator[Case]:
    """Yield the models one after the other, each made only when the former is done.

    Args:
        folder: the folder to write the heads to.

    Raises:
        FileNotFoundError: the real data is absent.
    """
    bccd, coco128, tiny_coco = (real_data(f"data/{name}") for name in ("bccd", "coco128_yolo", "tiny_coco"))
    heads = folder / "bccd.onnx"
    spec = export_onnx(load_checkpoint(SSDLITE300), heads, SSDLITE300)
    yield Case("SSDLite, BCCD", heads, spec, list(sample_images(bccd, 128, "train")), _labelled(bccd, "val", "test"))

    heads = folder / "pedestrian.onnx"
    source = real_data("weights/pedestrian_ssdlite/pedestrian_300_raw.onnx")
    spec = import_onnx(source, SPECS / "pedestrian_ssdlite.json", heads)
    halves = ("train2017", "val2017")
    both = [image for half in halves for image in sample_images(tiny_coco, 48, half)]
    yield Case("pedestrian, coco128", heads, spec, both, _labelled(coco128))
    other = list(sample_images(coco128, 96))
    yield Case("pedestrian, tiny_coco", heads, spec, other, _labelled(tiny_coco, *halves))

    heads = folder / "ultraface.onnx"
    source = real_data("weights/ultraface/version-RFB-320_without_postprocessing.onnx")
    spec = import_onnx(source, SPECS / "ultraface.json", heads)
    yield Case("UltraFace", heads, spec, both, _agreement(heads, spec, coco128))

    heads, data = folder / "ssd300.onnx", write_dataset(KEPT / "scenes", images=SCENES, seed=0)
    checkpoint = _trained_ssd300(data)
    spec = export_onnx(load_checkpoint(checkpoint), heads, checkpoint)
    yield Case("SSD300-VGG16, rendered", heads, spec, list(sample_images(data, 64, "train")), _labelled(data, "val"))


def points(case: Case, model: Path, precision: str) -> float:
    """Measure the AP of an ONNX file, or of OpenVINO's IR, on OpenVINO."""
    engine = OpenVinoEngine(model, case.spec, precision)
    ap = case.points(engine)
    engine.close()
    return ap


def kindest(case: Case, model: Path) -> float:
    """Measure the AP of another tool's INT8 file on OpenVINO and ONNX Runtime, and return the better one.

    OpenVINO 2026.4 computes a concatenation between pairs wrongly, which is no fault of the file.
    """
    ap = points(case, model, "INT8")
    if model.suffix == ".onnx":
        engine = OnnxRuntimeEngine(model, case.spec, "INT8")
        ap = max(ap, case.points(engine))
        engine.close()
    return ap


def _labelled(data: Path, *splits: str) -> Callable[[Heads], float]:
    """Return a measure of AP on the images of all these splits together, chosen as ``evaluate_model`` does."""

    def ap(heads: Heads) -> float:
        labels = heads.spec.labels
        parts = [check_dataset(open_dataset(data, split, labels)).clean for split in splits or ("",)]
        return 100 * (measure_ap(heads.detector(), chain(*parts), labels).ap or 0.0)

    return ap


def _agreement(fp32: Path, spec: ModelSpec, data: Path) -> Callable[[Heads], float]:
    """Return a measure of AP75 against the sure detections of FP32 heads, which themselves score 100 points.

    It is not COCO's AP, since an IoU of 0.95 with FP32's own boxes asks for more than one with hand-drawn boxes.
    """
    images = [read_image(file) for file in image_files(data)]
    engine = open_exact(fp32, spec)
    detect = engine.detector()
    truth = [detect(image).above(UNSURE) for image in images]
    engine.close()
    targets = [Target.of(one.boxes, one.labels, difficult=one.scores < SURE) for one in truth]

    def ap(heads: Heads) -> float:
        other = heads.detector()
        return 100 * (evaluate([other(image) for image in images], targets, spec.labels).ap75 or 0.0)

    return ap


def _trained_ssd300(data: Path) -> Path:
    """Return the trained SSD300; train it in ``SSD300.minutes`` unless a checkpoint is already there."""
    kept = SSD300_CHECKPOINT
    if not kept.exists():
        print(f"training {SSD300.model} for {SSD300.minutes:g} minutes, once: {kept}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            trained = train(TrainingRun(open_dataset(data, "train"), open_dataset(data, "val"), Path(folder), SSD300))
            kept.parent.mkdir(parents=True, exist_ok=True)
            trained.checkpoint.replace(kept)
    return kept
