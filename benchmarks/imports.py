"""Imported detectors beside their originals: real weights, and networks of other projects with weights by formula."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from figure import Figure, real_data

from ssd_edge.boxes import default_boxes, to_cxcywh
from ssd_edge.data.split import training_and_validation
from ssd_edge.decode import Decoder
from ssd_edge.description import read_description
from ssd_edge.export import export_onnx
from ssd_edge.graph.session import open_session
from ssd_edge.models.ssd import SSD
from ssd_edge.starts.catalogue import SOURCES
from ssd_edge.starts.convert import fitted, import_start, read_start
from ssd_edge.training.checkpoints import load_checkpoint
from ssd_edge.training.recipe import Optimiser, Recipe
from ssd_edge.training.run import TrainingRun
from ssd_edge.training.train import train

GOAL, GOAL_OF_GRAPH = 1e-5, 1e-4
GRAPH = "weights/pedestrian_ssdlite/frozen_inference_graph.pb"
TESTS = Path(__file__).resolve().parents[1] / "tests" / "starts"


def measure() -> Figure:
    """Compare heads; for torchvision and lufficc/SSD also default boxes and all detections."""
    detail: dict[str, Any] = {"UltraFace": _ultraface(), "pedestrian graph": _pedestrian()}
    sys.path.insert(0, str(TESTS))  # formula.py needs nothing but NumPy
    for file in sorted((TESTS / "references").glob("*.npz")):
        detail[file.stem] = _reference(file)
    largest = {name: max(one["loc"], one["logits"]) for name, one in detail.items()}
    detail["pedestrian graph, fine-tuned for one epoch and exported"] = tuned = _fine_tuned()
    graph = largest.pop("pedestrian graph")
    worst = max(largest, key=lambda name: largest[name])
    same = all(one.get("detections that differ", 0) == 0 for one in detail.values())
    return Figure(
        "imports",
        largest[worst],
        "largest difference of a head from the original's",
        f"<= {GOAL:g}, {GOAL_OF_GRAPH:g} for the pedestrian graph, all detections the same",
        largest[worst] <= GOAL
        and graph <= GOAL_OF_GRAPH
        and same
        and max(tuned["loc"], tuned["logits"]) <= GOAL_OF_GRAPH,
        detail,
        "; ".join(f"{name} {difference:.1e}" for name, difference in {**largest, "pedestrian graph": graph}.items())
        + f"; fine-tuned for one epoch: AP50 {tuned['AP50']:.3f}, exported {max(tuned['loc'], tuned['logits']):.1e}",
    )


def _heads(network: SSD, image: torch.Tensor) -> tuple[Any, Any]:
    with torch.no_grad():
        loc, logits = network(image)
    return loc[0].numpy(), logits[0].numpy()


def _onnx(path: str, image: np.ndarray) -> dict[str, np.ndarray]:
    session = open_session(onnx.load(real_data(path)).SerializeToString())
    names = [value.name for value in session.get_outputs()]
    outputs = session.run(names, {session.get_inputs()[0].name: image})
    return {name: output[0] for name, output in zip(names, outputs, strict=True)}


def _ultraface() -> dict[str, float]:
    network = read_start(real_data("weights/ultraface/version-RFB-320.pth"), "ultraface")
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 240, 320)).astype(np.float32)
    theirs = _onnx("weights/ultraface/version-RFB-320_without_postprocessing.onnx", image)
    loc, logits = _heads(network, torch.from_numpy(image))
    scores = torch.softmax(torch.from_numpy(logits), dim=-1).numpy()
    return {"loc": _largest(loc, theirs["boxes"]), "logits": _largest(scores, theirs["scores"])}


def _pedestrian() -> dict[str, float]:
    """Compare with the ONNX heads, whose boxes and coordinates are in TensorFlow's order."""
    network = read_start(real_data(GRAPH), "tf-graph", "person")
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 300, 300)).astype(np.float32)
    theirs = _onnx("weights/pedestrian_ssdlite/pedestrian_300_raw.onnx", image)
    described = default_boxes(read_description(Path(__file__).parent / "specs" / "pedestrian_ssdlite.json"))
    rows = np.abs(default_boxes(network.spec)[:, None] - described[None]).max(axis=2).argmin(axis=1)
    loc, logits = _heads(network, torch.from_numpy(image))
    return {
        "loc": _largest(loc, theirs["loc"][rows][:, [1, 0, 3, 2]]),
        "logits": _largest(logits[:, 1], theirs["logits"][rows, 1]),
    }


def _fine_tuned() -> dict[str, float]:
    """Train the pedestrian graph on people in coco128 for an epoch; compare its exported heads with PyTorch's."""
    data = training_and_validation(real_data("data/coco128_yolo"), "", "held-out", ("person",))
    recipe = Recipe(
        model="ssdlite300_mobilenet_v2_tensorflow",
        classes=("person",),
        epochs=1,
        workers=0,
        optimiser=Optimiser(lr=0.001),
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        import_start(real_data(GRAPH), "tf-graph", folder / "start.pt", "person")
        run = TrainingRun(data.training, data.validation, folder, recipe, show_bar=False, kept_back=data.kept_back)
        trained = train(run, start_from=folder / "start.pt")
        network = load_checkpoint(trained.checkpoint)
        export_onnx(network, folder / "heads.onnx")
        session = open_session((folder / "heads.onnx").read_bytes())
        image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 300, 300)).astype(np.float32)
        exported = session.run(["loc", "logits"], {"image": image})
        loc, logits = _heads(network, torch.from_numpy(image))
    return {
        "loc": _largest(loc, exported[0][0]),
        "logits": _largest(logits, exported[1][0]),
        "AP50": trained.ap50 or 0.0,
        "seconds": round(trained.seconds, 1),
        "tensors left out": len(trained.tensors_left_out),
    }


def _reference(file: Path) -> dict[str, float]:
    """Compare with what a project's own code computed in float64, see ``tests/starts/make_references.py``."""
    from formula import picture, weights

    reference = np.load(file)
    shapes = json.loads(bytes(reference["shapes"]))
    state = {name: torch.from_numpy(value) for name, value in weights(shapes).items()}
    network = fitted(state, SOURCES[file.stem.split("_")[0]].load(), file).double()
    spec = network.spec
    pixels = (picture(*spec.input_size) - np.asarray(spec.mean)) / np.asarray(spec.std)
    loc, logits = _heads(network, torch.from_numpy(pixels).permute(2, 0, 1)[None])
    rows = reference["rows"]
    priors = to_cxcywh(reference["priors"]) if file.stem.startswith("torchvision") else reference["priors"]
    result = {
        "loc": _largest(loc[rows], reference["loc"]),
        "logits": _largest(logits[rows], reference["logits"]),
        "default boxes": _largest(default_boxes(spec)[rows], priors),
    }
    if file.stem.startswith("torchvision"):
        detections = Decoder(spec)(loc.astype(np.float32), logits.astype(np.float32), spec.input_size)
        ours = np.column_stack([detections.boxes, detections.labels + 1])
        theirs = np.column_stack([reference["boxes"], reference["labels"]])
        distance = np.abs(ours[:, None] - theirs[None]).max(axis=2)
        result["detections"] = len(theirs)
        result["detections that differ"] = int((distance.min(axis=0) > 0.01).sum() + abs(len(ours) - len(theirs)))
    return result


def _largest(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max())
