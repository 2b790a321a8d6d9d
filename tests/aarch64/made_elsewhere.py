"""Bundles built on this machine, and what they find here, for the tests that open them on the other processor."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from ssd_edge.calibration.closest import calibrate_closest
from ssd_edge.calibration.job import Job
from ssd_edge.data.images import preprocessed
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.engines.proof.prove import keep_proof
from ssd_edge.graph.heads import write_heads
from ssd_edge.preprocess import preprocess
from tests.helpers import ROOT, small_spec
from tests.models_for_tests import marks_model, marks_scene

FOLDER = ROOT / "build" / "aarch64" / "made-elsewhere"
PHOTO = ROOT / "docs" / "images" / "pedestrian.jpg"
BACKENDS = ("openvino", "onnxruntime")
PRECISIONS = ("fp32", "int8")


def make(folder: Path = FOLDER) -> None:
    """A model with proofs, in both precisions; and the sample model, with its input and heads for a photo."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scenes = [marks_scene((k % 4, k // 4, 2 * (k % 2)), ((k + 2) % 4, 3 - k // 4, 0)) for k in range(12)]
    fp32, int8 = (folder / f"marks.{precision}.onnx" for precision in PRECISIONS)
    write_heads(marks_model(), small_spec(), fp32)
    calibrate_closest(Job(fp32, lambda: preprocessed(scenes, small_spec()), small_spec()), int8)
    for heads in (fp32, int8):
        keep_proof(heads, scenes)
        build_bundle(heads, heads.with_suffix(".engine"), *BACKENDS)
    _sample(folder)


def _sample(folder: Path) -> None:
    from ssd_edge.export import export_onnx
    from ssd_edge.samples import SAMPLE_CHECKPOINT
    from ssd_edge.training.checkpoints import load_checkpoint

    heads, photo = folder / "sample.onnx", cv2.imread(str(PHOTO))
    network = load_checkpoint(SAMPLE_CHECKPOINT)
    export_onnx(network, heads)
    image = preprocess(photo, network.spec)
    found = {"photo": photo, "image": image}
    for backend in BACKENDS:
        build_bundle(heads, folder / f"sample.{backend}.engine", backend)
        with closing(load_bundle(folder / f"sample.{backend}.engine")) as engine:
            raw = engine.submit(image)()
            found |= {f"{backend}.loc": raw.loc.copy(), f"{backend}.logits": raw.logits.copy()}
    np.savez(folder / "photo.npz", **found)


if __name__ == "__main__":
    make()
