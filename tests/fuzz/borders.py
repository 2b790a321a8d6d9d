"""The borders that read what strangers wrote, and small valid inputs of each kind to be damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np

from ssd_edge.calibration.lint.check import check_onnx
from ssd_edge.calibration.network.policy import Policy, choose
from ssd_edge.calibration.scales.interchange import read_scales
from ssd_edge.calibration.scales.state import StateFile
from ssd_edge.data.check import check_dataset
from ssd_edge.data.dataset import read_image
from ssd_edge.data.picture import image_size
from ssd_edge.data.readers import open_dataset
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.engines.cpu.exact import open_exact
from ssd_edge.graph.fp32 import read_heads
from ssd_edge.graph.heads import read_proof, read_spec
from ssd_edge.importing import import_onnx, read_description
from ssd_edge.models.registry import MODELS, make_network, make_spec
from ssd_edge.proof import Proof
from ssd_edge.spec import METADATA_KEY, ModelSpec
from ssd_edge.starts.convert import open_start
from ssd_edge.starts.tf_graph import read_graph
from ssd_edge.starts.ultraface import ULTRAFACE
from ssd_edge.stream.video_file import VideoSource
from ssd_edge.training.checkpoints import load_checkpoint, load_scales, save_checkpoint, write_torch_file
from ssd_edge.training.module import KIND_KEY, DetectorModule
from ssd_edge.training.resuming import epochs_done
from tests.fuzz import damage, damage_models
from tests.helpers import Chosen, small_spec
from tests.models_for_tests import quantised, tiny_model, write_tiny
from tests.starts.graphs import constant
from tests.training.tiny import Architecture, tiny_network

MOST_FRAMES = 200
DESCRIPTION = {
    "labels": ["bolt", "nut"],
    "input_size": [32, 32],
    "mean": [0, 0, 0],
    "std": [255, 255, 255],
    "levels": [{"grid": [4, 4], "boxes": [[0.2, 1], [0.3, 2]]}, {"grid": [2, 2], "sizes": [[0.4, 0.4]]}],
}


@dataclass(frozen=True)
class Border:
    """One kind of input.

    Attributes:
        files: the files that are damaged, as patterns below the sample's folder.
        changes: the ways to damage one of them; each is chosen equally often.
        read: reads the folder, as the program does.
    """

    files: tuple[str, ...]
    changes: tuple[damage.Change, ...]
    read: Callable[[Path], None]


def _dataset(folder: Path) -> None:
    report = check_dataset(open_dataset(folder))
    json.dumps(report.to_json())
    for issue in report.issues:
        str(issue)


def _image(folder: Path) -> None:
    (file,) = folder.iterdir()
    read_image(file)
    width, height = image_size(file)
    assert min(width, height) > 0


def _video(folder: Path) -> None:
    (file,) = folder.iterdir()
    with closing(VideoSource(file)) as source:
        for _ in range(MOST_FRAMES):
            if source.read() is None:
                break


def _heads(folder: Path) -> None:
    with closing(open_exact(folder / "a.onnx", read_spec(folder / "a.onnx"))) as engine:
        engine.submit(np.zeros((1, 3, *engine.spec.input_size), np.float32))()
    if packed := read_proof(folder / "a.onnx"):
        Proof.unpack(packed, engine.spec)


def _lint(folder: Path) -> None:
    json.dumps(check_onnx(folder / "a.onnx").to_json())


def _calibrate(folder: Path) -> None:
    choose(read_heads(folder / "a.onnx"), Policy())


def _import(folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps(DESCRIPTION | {"levels": small_spec().to_json()["levels"]}))
    import_onnx(folder / "a.onnx", folder / "a.json", folder / "out.onnx")


def _bundle(folder: Path) -> None:
    with load_bundle(folder / "a.engine") as engine:
        engine.submit(np.zeros((1, 3, *engine.spec.input_size), np.float32))()


def _checkpoint(folder: Path) -> None:
    load_checkpoint(folder / "a.pt")
    load_scales(folder / "a.pt")


def _graph(folder: Path) -> None:
    read_graph(folder / "a.pb")


def _start(folder: Path) -> None:
    open_start(folder / "a.pt")


def _resume(folder: Path) -> None:
    epochs_done(folder / "a.pt", make_spec("tiny", ["bolt", "nut"]), DetectorModule.kind)


def _partial(folder: Path) -> None:
    StateFile(folder / "a.partial", "key").begin(b"network", ["image", "a"])


def _proof(folder: Path) -> None:
    Proof.unpack((folder / "proof.zip").read_bytes(), small_spec())


B, J = damage.blindly, damage.json_values
BORDERS = {
    "yolo": Border(("labels/*.txt", "data.yaml"), (B,), _dataset),
    "voc": Border(("Annotations/*.xml", "ImageSets/Main/*.txt"), (B, damage.xml_elements), _dataset),
    "coco": Border(("annotations/*.json",), (B, J, J), _dataset),
    "image": Border(("*",), (B,), _image),
    "video": Border(("*",), (B,), _video),
    "spec": Border(("a.json",), (B, J, J), lambda folder: _of_text(folder / "a.json")),
    "description": Border(("a.json",), (B, J, J), lambda folder: str(read_description(folder / "a.json")) and None),
    "heads": Border(("a.onnx",), (B, damage_models.onnx_graph), _heads),
    "lint": Border(("a.onnx",), (B, damage_models.onnx_graph), _lint),
    "calibrate": Border(("a.onnx",), (B, damage_models.onnx_graph), _calibrate),
    "import": Border(("a.onnx",), (B, damage_models.onnx_graph), _import),
    "bundle": Border(("a.engine/*",), (B, damage_models.sealed_manifest), _bundle),
    "checkpoint": Border(("a.pt",), (B, damage_models.checkpoint, damage_models.archive), _checkpoint),
    "graph": Border(("a.pb",), (B,), _graph),
    "start": Border(("a.pt",), (B, damage_models.archive), _start),
    "resume": Border(("a.pt",), (B, damage_models.checkpoint, damage_models.archive), _resume),
    "scales": Border(("*",), (B, J), lambda folder: [read_scales(file) for file in folder.iterdir()] and None),
    "partial": Border(("a.partial",), (B, damage_models.archive), _partial),
    "proof": Border(("proof.zip",), (B, damage_models.archive), _proof),
}
"""Every border by the name of its kind."""


def _of_text(file: Path) -> None:
    ModelSpec.from_text(file.read_bytes().decode(errors="replace"))


def make_damaged(samples: Path, kind: str, seed: int, folder: Path) -> None:
    """Copy a sample of a kind to ``folder``, and damage one of its files by seed."""
    random, border = Random(f"{kind} {seed}"), BORDERS[kind]
    choices = sorted(path for path in (samples / kind).iterdir())
    shutil.copytree(random.choice(choices), folder)
    pattern = random.choice(border.files)
    file = random.choice(sorted(path for path in folder.glob(pattern) if path.is_file()))
    data = file.read_bytes()
    try:
        data = random.choice(border.changes)(data, random)
    except (ValueError, SyntaxError, RecursionError):  # a change for JSON or XML, of a file that is none
        data = damage.blindly(data, random)
    file.write_bytes(data)


def register_tiny() -> None:
    """Register a detector of 56 default boxes, whose checkpoints are small."""
    chosen: Any = Chosen(lambda: Architecture((32, 32), {"only": small_spec().levels}, tiny_network))
    MODELS["tiny"] = chosen


def make_samples(folder: Path) -> None:
    """Write small valid inputs: ``folder/KIND/NUMBER/``."""
    picture = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    png = cv2.imencode(".png", picture)[1].tobytes()
    _write_datasets(folder, png)
    for number, suffix in enumerate((".png", ".jpg", ".bmp", ".webp", ".tif")):
        _put(folder / f"image/{number}/a{suffix}", cv2.imencode(suffix, picture)[1].tobytes())
    for number, suffix in enumerate((".avi", ".mp4", ".mkv")):
        _write_video(folder / f"video/{number}/a{suffix}", picture)
    spec = small_spec(provenance={"dataset": "bolts"}, operating_scores={small_spec().labels[0]: 0.5})
    _put(folder / "spec/0/a.json", spec.to_text().encode())
    _put(folder / "description/0/a.json", json.dumps(DESCRIPTION).encode())
    onnx = write_tiny(folder / "heads/0/a.onnx", spec)
    int8 = quantised(tiny_model(small_spec())).SerializeToString()
    for kind in ("lint", "calibrate", "import"):
        _put(folder / kind / "0/a.onnx", onnx.read_bytes())
    _put(folder / "lint/1/a.onnx", int8)
    _put(folder / "import/1/a.onnx", int8)
    for number, backend in enumerate(("openvino", "onnxruntime")):
        build_bundle(onnx, folder / f"bundle/{number}/a.engine", backend)
    register_tiny()
    network = make_network(make_spec("tiny", ["bolt", "nut"]))
    save_checkpoint(folder / "checkpoint/0/a.pt", network, network.spec, half=True, scales={"image": 0.5})
    boxes = np.arange(24 * 4, dtype=np.float32).reshape(1, 1, 4, 24)
    predictor = "BoxPredictor_1/BoxEncodingPredictor"
    graph = constant(f"{predictor}/weights", boxes) + constant(f"{predictor}/biases", boxes[0, 0, 0])
    _put(folder / "graph/0/a.pb", graph)
    faces = make_network(make_spec("ultraface_rfb320", ["face"])).state_dict()
    theirs = {ULTRAFACE.layouts[0].theirs(name): value for name, value in faces.items()}
    write_torch_file(folder / "start/0/a.pt", {"model": theirs})
    last = {METADATA_KEY: network.spec.to_text(), "loops": {}, "epoch": 3, KIND_KEY: DetectorModule.kind}
    write_torch_file(folder / "resume/0/a.pt", last)
    _put(folder / "scales/0/a.json", b'{"image": 0.01, "a/b": 1.5e-3, "c": 3}')
    _put(folder / "scales/1/a.cache", b"TRT-8601-EntropyCalibration2\nimage: 3c010a14\na b: 3f800000\n")
    _write_partial(folder / "partial/0/a.partial")
    image = np.zeros((*small_spec().input_size, 3), np.uint8)
    _put(folder / "proof/0/proof.zip", _packed_proof(image))


def _packed_proof(image: np.ndarray) -> bytes:
    from ssd_edge.detections import Detections

    one = Detections(np.array([[1, 2, 20, 21]], np.float32), np.array([0.9], np.float32), np.array([0], np.int64))
    return Proof((image,), (one,), (np.array([True]),), 0.5).pack()


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _write_datasets(folder: Path, png: bytes) -> None:
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>18</ymax></bndbox>"
    one = f"<object><name>bolt</name><difficult>0</difficult>{box}</object>"
    for k in range(2):
        _put(folder / f"yolo/0/images/{k}.png", png + bytes([k]))
        _put(folder / f"yolo/0/labels/{k}.txt", b"0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.3 0.1 0.3 0.4\n")
        _put(folder / f"voc/0/JPEGImages/{k}.png", png + bytes([k]))
        xml = f"<annotation><filename>{k}.png</filename><size><width>32</width><height>24</height></size>{one}{one}"
        _put(folder / f"voc/0/Annotations/{k}.xml", f"{xml}</annotation>".encode())
        _put(folder / f"coco/0/train/{k}.png", png + bytes([k]))
    _put(folder / "yolo/0/data.yaml", b"names: {0: bolt, 1: nut}\ntrain: images\nnc: 2\npath: .\n")
    _put(folder / "voc/0/ImageSets/Main/trainval.txt", b"0\n1\n")
    images = [{"id": k, "file_name": f"{k}.png", "width": 32, "height": 24} for k in range(2)]
    objects = [
        {"id": k, "image_id": k % 2, "category_id": 3, "bbox": [1, 2, 10, 12.5], "iscrowd": 0, "area": 125}
        for k in range(4)
    ]
    content = {"images": images, "annotations": objects, "categories": [{"id": 3, "name": "bolt"}]}
    _put(folder / "coco/0/annotations/instances_train.json", json.dumps(content).encode())


def _write_video(path: Path, picture: np.ndarray) -> None:
    from ssd_edge.detections import Detections
    from ssd_edge.outputs.video import Video
    from ssd_edge.stream.frames import Frame

    path.parent.mkdir(parents=True)
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    with Video(path, ("bolt",)) as video:
        for k in range(8):
            video.write(Frame(np.roll(picture, k, 0), k, k / 25, k / 25), nothing)


def _write_partial(path: Path) -> None:
    path.parent.mkdir(parents=True)
    state = StateFile(path, "key")
    seen = state.begin(b"network", ["image", "a"])
    for histogram in seen.histograms.values():
        histogram.add(np.linspace(-1, 2, 48, dtype=np.float32).reshape(1, 3, 4, 4))
    seen.image_hashes.append("0" * 64)
    state.write(seen)
