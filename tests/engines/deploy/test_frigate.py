"""Folders for Frigate: its own calls on them give what ssd-edge detects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import openvino
import pytest
import yaml

from ssd_edge.cli.main import app
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.engines.deploy import frigate
from ssd_edge.engines.openvino import core
from ssd_edge.errors import BackendError, BundleIntegrityError
from ssd_edge.graph.heads import write_heads
from ssd_edge.importing import import_onnx
from ssd_edge.resize import resize
from tests.helpers import ROOT, sentence, shared, small_spec
from tests.models_for_tests import marks_model, tiny_model

SAME_SCORE, SAME_PLACE = 1e-4, 1e-4
"""Largest differences of a score, and of a corner as a fraction of the image: sums of float32 in another order."""


class Frigate:
    """The path of a picture through Frigate, as its source has it (0.18; see ssd_edge/engines/deploy/frigate.py)."""

    def __init__(self, folder: Path) -> None:
        self.model = yaml.safe_load((folder / frigate.CONFIGURATION).read_text())["model"]
        assert self.model["model_type"] == "ssd"
        compiled = openvino_model(folder / Path(self.model["path"]).name)
        (image,), (output,) = compiled.inputs, compiled.outputs
        shape = output.get_shape()
        assert (shape[0], shape[1], shape[3]) == (1, 1, 7)
        self.request = compiled.create_infer_request()
        self.input = openvino.Tensor(image.get_element_type(), image.get_shape())
        self.labels = load_labels(folder / Path(self.model["labelmap_path"]).name)
        self.warnings: list[int] = []

    def detect_raw(self, image: np.ndarray) -> np.ndarray:
        """Detect in (1, H, W, 3) uint8: (20, 6) of class, score, y1, x1, y2, x2."""
        assert self.model["input_tensor"] == "nhwc"
        assert self.model["input_dtype"] == "int"
        assert image.shape == (1, self.model["height"], self.model["width"], 3)
        np.copyto(self.input.data, image)
        self.request.infer(self.input)
        detections = np.zeros((20, 6), np.float32)
        for row, values in enumerate(self.request.get_output_tensor(0).data[0][0]):
            if row == 20:
                break
            _, label, score, x1, y1, x2, y2 = values
            detections[row] = [label, float(score), y1, x1, y2, x2]
        return detections

    def detect(self, image: np.ndarray, threshold: float = 0.4) -> list[tuple[str, float, tuple[float, ...]]]:
        """Return label, score and (y1, x1, y2, x2) of what is above the threshold, up to the first that is not."""
        found = []
        for row in self.detect_raw(image):
            if int(row[0]) < 0 or int(row[0]) >= len(self.labels):
                self.warnings.append(int(row[0]))
                continue
            if row[1] < threshold:
                break
            found.append((self.labels[int(row[0])], float(row[1]), tuple(map(float, row[2:]))))
        return found

    def tensor_of(self, picture: np.ndarray, how: str) -> np.ndarray:
        """Make the input of a BGR picture; ``how`` to resize it is the model's own, to compare what follows."""
        resized = resize(picture, (self.model["height"], self.model["width"]), how)
        return (resized[:, :, ::-1] if self.model["input_pixel_format"] == "rgb" else resized)[None]


def openvino_model(path: Path):
    return core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def load_labels(path: Path) -> dict[int, str]:
    """Read a label map as Frigate does: with numbers if the first line begins with one; 91 labels at least."""
    labels = dict.fromkeys(range(91), "unknown")
    lines = path.read_text().splitlines()
    if lines[0].split(" ", maxsplit=1)[0].isdigit():
        return labels | {int(line.split(" ", 1)[0]): line.split(" ", 1)[1].strip() for line in lines}
    return labels | {number: line.strip() for number, line in enumerate(lines)}


def bundle_of(folder: Path, model: onnx.ModelProto, spec) -> Path:
    write_heads(model, spec, folder / "heads.onnx")
    build_bundle(folder / "heads.onnx", folder / "parts.engine", "openvino")
    return folder / "parts.engine"


def compare(bundle: Path, pictures) -> int:
    """Compare Frigate's twenty best detections of each picture with ours; return the number compared."""
    folder = bundle.with_name("deployed")
    frigate.export(bundle, folder)
    served, number = Frigate(folder), 0
    with load_bundle(bundle) as engine:
        detector, spec = engine.detector(), engine.spec
        for picture in pictures:
            ours = detector(picture)
            rows = served.detect_raw(served.tensor_of(picture, spec.resize))
            count = min(20, len(ours))
            height, width = picture.shape[:2]
            boxes = (ours.boxes[:count] / [width, height, width, height])[:, [1, 0, 3, 2]]
            assert np.all(rows[count:] == 0)
            np.testing.assert_allclose(rows[:count, 1], ours.scores[:count], atol=SAME_SCORE)
            clear = apart(ours.scores[: count + 1])[:count]  # nearly equal scores may be in either order
            np.testing.assert_array_equal(rows[:count][clear, 0], ours.labels[:count][clear])
            np.testing.assert_allclose(rows[:count][clear, 2:], boxes[clear], atol=SAME_PLACE)
            number += int(clear.sum())
        assert not served.detect(np.zeros((1, *spec.input_size, 3), np.uint8), threshold=1.0)
        assert not served.warnings
    return number


def apart(scores: np.ndarray) -> np.ndarray:
    """Tell which scores differ from their neighbours."""
    gaps = np.abs(np.diff(scores)) > SAME_SCORE
    return np.r_[True, gaps] & np.r_[gaps, True]


VARIANTS = {
    "softmax": {},
    "sigmoid, yxhw": {"score_function": "sigmoid", "box_order": "yxhw"},
    "clipped before NMS": {"clip_boxes": "before-nms", "variances": (0.3, 0.5)},
    "bgr, clipped default boxes": {"channel_order": "bgr", "clip": True, "mean": (127.0, 90.0, 1.0)},
    "cxcywh, averaging": {"clip": "cxcywh", "resize": "area"},
    "strict": {"nms_iou": 0.1, "top_k": 5, "max_detections": 12, "score_threshold": 0.3},
    "one class": {"labels": ("7 segments",), "max_detections": 300},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_of_spec(name, tmp_path):
    spec = small_spec(**VARIANTS[name])
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (40, 60, 3), np.uint8) for _ in range(20)]
    assert compare(bundle_of(tmp_path, tiny_model(spec), spec), pictures) > 100


def test_pictures_without_anything_and_with_one_thing(tmp_path):
    spec = small_spec()
    bundle = bundle_of(tmp_path, marks_model(spec), spec)
    marked = np.zeros((32, 32, 3), np.uint8)
    marked[8:16, 16:24, 2] = 255
    assert compare(bundle, [np.zeros((32, 32, 3), np.uint8), marked]) >= 1
    served = Frigate(tmp_path / "deployed")
    ((label, score, (y1, x1, y2, x2)),) = served.detect(served.tensor_of(marked, "linear"))
    assert (label, round(score, 2)) == ("nut", 0.98)
    assert (y1 + y2) / 2 == pytest.approx(12 / 32, abs=0.05)
    assert (x1 + x2) / 2 == pytest.approx(20 / 32, abs=0.05)


def test_a_fault_is_seen(tmp_path, monkeypatch):
    """The comparison has to fail for wrong variances."""
    spec = small_spec()
    bundle = bundle_of(tmp_path, tiny_model(spec), spec)
    right = frigate.detector
    monkeypatch.setattr(frigate, "detector", lambda heads, spec: right(heads, replace(spec, variances=(0.1, 0.21))))
    with pytest.raises(AssertionError):
        compare(bundle, [np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)])


@pytest.mark.slow
def test_pedestrians_in_a_video(tmp_path):
    """A network of TensorFlow's detection API: sigmoid, y before x."""
    source = shared("weights/pedestrian_ssdlite/pedestrian_300_raw.onnx")
    import_onnx(source, ROOT / "benchmarks/specs/pedestrian_ssdlite.json", tmp_path / "heads.onnx")
    build_bundle(tmp_path / "heads.onnx", tmp_path / "parts.engine", "openvino")
    video, pictures = cv2.VideoCapture(str(shared("media/vtest.avi"))), []
    while len(pictures) < 10:
        pictures.append(video.read()[1])
    assert compare(tmp_path / "parts.engine", pictures) > 50


@pytest.mark.slow
def test_faces(tmp_path):
    source = shared("weights/ultraface/version-RFB-320_without_postprocessing.onnx")
    import_onnx(source, ROOT / "benchmarks/specs/ultraface.json", tmp_path / "heads.onnx")
    build_bundle(tmp_path / "heads.onnx", tmp_path / "parts.engine", "openvino")
    assert compare(tmp_path / "parts.engine", [cv2.imread(str(shared("media/astronaut.png")))]) >= 1


@pytest.mark.slow
def test_blood_cells(tmp_path):
    """The trained sample on photographs of its data set."""
    pytest.importorskip("torch")
    from ssd_edge.export import export_onnx
    from ssd_edge.samples import SAMPLE_CHECKPOINT
    from ssd_edge.training.checkpoints import load_checkpoint

    export_onnx(load_checkpoint(SAMPLE_CHECKPOINT), tmp_path / "heads.onnx")
    build_bundle(tmp_path / "heads.onnx", tmp_path / "parts.engine", "openvino")
    photos = sorted(shared("data/bccd/BCCD/JPEGImages").glob("*.jpg"))[:20]
    assert compare(tmp_path / "parts.engine", [cv2.imread(str(photo)) for photo in photos]) > 200


def test_the_configuration(tmp_path):
    spec = small_spec(labels=("7 segments", "screw: M4"), operating_scores={"screw: M4": 0.62}, channel_order="bgr")
    folder = frigate.export(bundle_of(tmp_path, tiny_model(spec), spec), tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "frigate.yml",
        "labelmap.txt",
        "parts.bin",
        "parts.xml",
    ]
    content = yaml.safe_load((folder / "frigate.yml").read_text())
    assert content["model"] == {
        "model_type": "ssd",
        "path": "/config/models/parts/parts.xml",
        "labelmap_path": "/config/models/parts/labelmap.txt",
        "width": 32,
        "height": 32,
        "input_tensor": "nhwc",
        "input_pixel_format": "bgr",
        "input_dtype": "int",
    }
    assert content["detectors"] == {"ov": {"type": "openvino", "device": "CPU"}}
    filters = {"screw: M4": {"min_score": 0.62, "threshold": 0.62}}
    assert content["objects"] == {"track": ["7 segments", "screw: M4"], "filters": filters}
    labels = load_labels(folder / "labelmap.txt")
    assert [labels[0], labels[1], labels[2]] == ["7 segments", "screw: M4", "unknown"]


def test_the_command(bundle, tmp_path, capsys):
    app(["export-deploy", str(bundle), str(tmp_path / "out"), "--to", "frigate"], standalone_mode=False)
    assert "frigate.yml, labelmap.txt, tiny.bin, tiny.xml" in capsys.readouterr().err.replace("\n", " ")


def test_a_bundle_without_a_plan_of_openvino(heads_onnx, tmp_path):
    build_bundle(heads_onnx, tmp_path / "other.engine", "onnxruntime")
    with pytest.raises(BackendError) as error:
        frigate.export(tmp_path / "other.engine", tmp_path / "out")
    assert "holds onnxruntime: ssd-edge build-engine" in sentence(error)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty(bundle, tmp_path):
    (tmp_path / "note").touch()
    with pytest.raises(BackendError, match="is not empty"):
        frigate.export(bundle, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


def test_no_bundle(tmp_path):
    with pytest.raises(BundleIntegrityError, match="is not there"):
        frigate.export(tmp_path / "absent.engine", tmp_path / "out")
