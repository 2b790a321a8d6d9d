"""The real weights in ``shared``, against the ONNX files that others made of them."""

from __future__ import annotations

import numpy as np
import onnx
import torch

from ssd_edge.boxes import default_boxes
from ssd_edge.description import read_description
from ssd_edge.graph.session import open_session
from ssd_edge.starts.convert import import_start, read_start
from ssd_edge.training.checkpoints import load_checkpoint
from tests.helpers import ROOT, shared

ULTRAFACE = "weights/ultraface/version-RFB-320.pth"
PEDESTRIAN = "weights/pedestrian_ssdlite/frozen_inference_graph.pb"


def outputs(path, image: np.ndarray) -> dict[str, np.ndarray]:
    session = open_session(onnx.load(shared(path)).SerializeToString())
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: image}), strict=True))


def heads(network, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        loc, logits = network(torch.from_numpy(image))
    return loc.numpy(), logits.numpy()


def pixels(low: float, high: float, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)


def test_ultraface_gives_its_own_onnx_files_heads(tmp_path):
    network = import_start(shared(ULTRAFACE), "ultraface", tmp_path / "model.pt")
    assert network.spec.labels == ("face",)
    image = pixels(-1, 1, 1, 3, 240, 320)
    theirs = outputs("weights/ultraface/version-RFB-320_without_postprocessing.onnx", image)
    for made in (network, load_checkpoint(tmp_path / "model.pt")):
        loc, logits = heads(made, image)
        np.testing.assert_allclose(loc, theirs["boxes"], rtol=0, atol=1e-5)
        scores = torch.softmax(torch.from_numpy(logits), dim=-1).numpy()
        np.testing.assert_allclose(scores, theirs["scores"], rtol=0, atol=1e-5)


def test_the_pedestrian_graph_gives_the_heads_of_its_onnx_file():
    """Its score σ(x) is our softmax of 0 and x: PyTorch's padding would differ by far more."""
    network = read_start(shared(PEDESTRIAN), "tf-graph", "person")
    image = pixels(-1, 1, 1, 3, 300, 300)
    theirs = outputs("weights/pedestrian_ssdlite/pedestrian_300_raw.onnx", image)
    described = default_boxes(
        read_description(ROOT / "benchmarks/specs/pedestrian_ssdlite.json")
    )  # in TensorFlow's order
    distance = np.abs(default_boxes(network.spec)[:, None] - described[None]).max(axis=2)
    rows = distance.argmin(axis=1)
    assert distance.min(axis=1).max() < 1e-6
    assert sorted(rows) == list(range(1917))
    loc, logits = heads(network, image)
    np.testing.assert_allclose(loc, theirs["loc"][:, rows][:, :, [1, 0, 3, 2]], rtol=0, atol=1e-4)
    np.testing.assert_allclose(logits[:, :, 1], theirs["logits"][:, rows, 1], rtol=0, atol=1e-4)
    assert not logits[:, :, 0].any()


def test_names_from_the_projects_own_file(tmp_path):
    shared(ULTRAFACE)
    names = shared("weights/ultraface/voc-model-labels.txt")  # BACKGROUND, face
    assert read_start(shared(ULTRAFACE), "ultraface", str(names)).spec.labels == ("face",)
