"""An input that is twice as wide as high, through everything behind the network: marks are found where they are.

The reference is arithmetic on where the marks were drawn, so that rows and columns taken for each other anywhere (in a
preprocess, a decode, default boxes, a file, a page) put a mark elsewhere. What others here compare bit for bit with the
host for square inputs is compared with it for this one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from ssd_edge import boxes
from ssd_edge.detections import Detections
from ssd_edge.detector import Engine, HostDetector
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.cpu.exact import open_exact
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.deploy import triton
from ssd_edge.engines.gpu.engine import GpuEngine
from ssd_edge.engines.onnxruntime import OnnxRuntimeEngine
from ssd_edge.engines.opening import open_model
from ssd_edge.engines.plugins.decode_graph import with_decode
from ssd_edge.engines.proof.prove import keep_proof
from ssd_edge.engines.proof.verify import verify_bundle
from ssd_edge.errors import ModelError, ProofError, SpecError
from ssd_edge.graph.heads import read_spec, write_heads
from ssd_edge.preprocess import preprocess
from ssd_edge.proof import Proof
from ssd_edge.spec import DefaultBoxLevel, ModelSpec
from tests.cuda.emulated import Emulated
from tests.cuda.host_heads import HostDetections, HostHeads
from tests.engines.deploy.test_deploy import model as deployed
from tests.engines.deploy.test_deploy import tensors
from tests.engines.gpu.test_gpu import assert_equal, cubin
from tests.engines.plugins.test_plugin_network import equal_frames
from tests.helpers import small_spec
from tests.models_for_tests import marks_model

ROWS, COLUMNS = 4, 8
CELL = 8
MARKS = ((0, 6, 0), (3, 1, 0), (1, 3, 2))
"""Row, column and channel of BGR of each mark; no two are each other's mirror or transpose. Blue is class 0."""


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return small_spec(
        input_size=(ROWS * CELL, COLUMNS * CELL),
        levels=(
            DefaultBoxLevel((ROWS, COLUMNS), (1 / ROWS, 1 / COLUMNS), ((0.1, 0.2), (0.15, 0.15), (0.07, 0.3))),
            DefaultBoxLevel((ROWS // 2, COLUMNS // 2), (2 / ROWS, 2 / COLUMNS), ((0.25, 0.5), (0.4, 0.6))),
        ),
    )


@pytest.fixture(scope="module")
def heads(spec, tmp_path_factory) -> Path:
    """The model of marks as heads with a proof; tests must not change them."""
    path = tmp_path_factory.mktemp("wide") / "wide.onnx"
    write_heads(marks_model(spec), spec, path)
    keep_proof(path, [scene(), scene()[:, ::-1]])
    return path


@pytest.fixture(scope="module")
def wide_bundle(heads) -> Path:
    folder = heads.with_name("wide.engine")
    build_bundle(heads, folder, "openvino", "onnxruntime")
    return folder


def scene(height: int = ROWS * CELL, width: int = COLUMNS * CELL) -> np.ndarray:
    """Draw the marks in a dark picture, (height, width, 3) uint8."""
    image = np.full((height, width, 3), 20, np.uint8)
    for row, column, channel in MARKS:
        rows = slice(height * row // ROWS, height * (row + 1) // ROWS)
        columns = slice(width * column // COLUMNS, width * (column + 1) // COLUMNS)
        image[rows, columns, channel] = 255
    return image


def wanted(height: int, width: int) -> dict[tuple[int, int], list[float]]:
    """By (row, column) of a mark: class and x1, y1, x2, y2 of its detection in a frame, by the decode's formula.

    The model's loc is (0.5, -0.5, 1, -1), its variances are 0.1 and 0.2, and the default box is 0.1 × 0.2.
    """
    found = {}
    for row, column, channel in MARKS:
        x, y = (column + 0.5) / COLUMNS + 0.5 * 0.1 * 0.1, (row + 0.5) / ROWS - 0.5 * 0.1 * 0.2
        w, h = 0.1 * math.exp(0.2), 0.2 * math.exp(-0.2)
        sides = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, 1) * [width, height, width, height]
        found[row, column] = [0 if channel == 0 else 1, *sides.tolist()]
    return found


def assert_marks(detections: Detections, height: int, width: int) -> None:
    """Check class and place of the clear detections; tolerance: float32 of up to 200 pixels."""
    clear = detections.above(0.9)
    right = sorted(wanted(height, width).values())
    got = sorted([int(label), *box.tolist()] for label, box in zip(clear.labels, clear.boxes, strict=True))
    np.testing.assert_allclose(got, right, atol=1e-3)


FRAMES = [(32, 64), (64, 128), (120, 160), (96, 48)]
"""(height, width): of the input's size, of its aspect, of a camera's, and of a picture taken upright."""


def opened(how: str, heads: Path, bundle: Path) -> Engine:
    spec = read_spec(heads)
    if how == "exact":
        return open_exact(heads, spec)
    if how == "onnxruntime":
        return OnnxRuntimeEngine(heads, spec, "FP32")
    return open_model(bundle)


@pytest.mark.parametrize("how", ["exact", "onnxruntime", "openvino"])
def test_cpu_engines_find_marks_where_they_are(how, heads, wide_bundle):
    with opened(how, heads, wide_bundle) as engine:
        detector = engine.detector()
        for height, width in FRAMES:
            assert_marks(detector(scene(height, width)), height, width)


@pytest.mark.parametrize("network", [HostHeads, HostDetections])
def test_the_gpus_kernels_find_them_too(network: Callable, heads: Path, emulated: Emulated) -> None:
    """Preprocess and decode are the kernels, executed on the CPU; results equal the host's to the last bit."""
    with OnnxRuntimeEngine(heads, read_spec(heads), "FP32") as cpu:
        device = Device()
        engine = GpuEngine("emulated", network(cpu, device, False), device, cubin())
        detector = engine.detector()
        for height, width in FRAMES:
            got = detector(scene(height, width))
            assert_marks(got, height, width)
            assert_equal(got, HostDetector(cpu)(scene(height, width)))
        engine.close()


@pytest.fixture(params=["boxes", "frame", "preprocess"])
def fault(request, monkeypatch) -> Iterator[str]:
    """Sides swapped in one place."""
    if request.param == "boxes":
        right = boxes.default_boxes
        monkeypatch.setattr(boxes, "default_boxes", lambda spec: right(spec)[:, [1, 0, 3, 2]])
    elif request.param == "frame":
        from ssd_edge.decode import to_pixels

        monkeypatch.setattr("ssd_edge.decode.to_pixels", lambda some, size: to_pixels(some, size[::-1]))
    else:

        def turned(frame, spec):
            return preprocess(np.ascontiguousarray(frame.transpose(1, 0, 2)), spec)

        monkeypatch.setattr("ssd_edge.detector.preprocess", turned)
    return str(request.param)


def test_a_planted_swap_is_seen(fault, heads):
    with OnnxRuntimeEngine(heads, read_spec(heads), "FP32") as engine:
        detections = HostDetector(engine)(scene(120, 160))
    with pytest.raises(AssertionError):
        assert_marks(detections, 120, 160)


def test_heads_of_swapped_sides_are_refused(spec, tmp_path):
    """The network takes (32, 64); as many default boxes on (64, 32) belong to another one."""
    levels = tuple(DefaultBoxLevel(one.grid[::-1], one.step[::-1], one.sizes) for one in spec.levels)
    swapped = replace(spec, input_size=spec.input_size[::-1], levels=levels)
    write_heads(marks_model(spec), swapped, tmp_path / "swapped.onnx")
    with pytest.raises(ModelError, match=r"must have image \(B, 3, 64, 32\), but has \[3, 32, 64\]"):
        open_model(tmp_path / "swapped.onnx")
    content = json.loads(spec.to_text())
    content["levels"][0]["grid"].reverse()
    with pytest.raises(SpecError, match=r"grids are \[rows, columns\]"):
        ModelSpec.from_json(content)


def test_the_proof_travels_and_belongs_to_its_input(heads, wide_bundle, spec):
    assert [one.status for one in verify_bundle(wide_bundle)] == ["right", "right"]
    proof = keep_proof(heads, [scene(120, 160)])
    assert proof.images[0].shape == (32, 64, 3)
    assert proof.counted == len(MARKS)
    with pytest.raises(ProofError, match="are not 32×64 pixels, the size of the model's input"):
        Proof.unpack(proof.pack(), replace(spec, input_size=(64, 32), levels=small_spec().levels))


@pytest.mark.slow
def test_run_and_benchmark_take_it(heads, wide_bundle, tmp_path, monkeypatch, capsys):
    """A folder of frames through the loop: the boxes written are the marks'."""
    from ssd_edge.cli.main import app

    for k, (height, width) in enumerate(FRAMES):
        (tmp_path / "frames").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "frames" / f"{k}.png"), scene(height, width))
    out = tmp_path / "found.jsonl"
    arguments = [
        "run",
        str(wide_bundle),
        "--camera",
        str(tmp_path / "frames"),
        "--save-json",
        str(out),
        "--every-frame",
    ]
    app([*arguments, "--no-window", "--min-score", "0.9"], standalone_mode=False)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == len(FRAMES)
    for line, (height, width) in zip(lines, FRAMES, strict=True):
        got = sorted([*one["box"]] for one in line["detections"])
        np.testing.assert_allclose(got, sorted(box[1:] for box in wanted(height, width).values()), atol=0.06)
    capsys.readouterr()
    app(["benchmark", str(wide_bundle), "--frames", "10", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)
    app(["inspect", str(wide_bundle)], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "64×32 rgb" in shown
    assert "8×4·3" in shown


@pytest.mark.slow
def test_the_graph_with_decode_gives_the_hosts_boxes(heads, spec):
    """One ONNX graph from image to boxes, by ONNX Runtime; its default boxes are a constant of the file."""
    from onnxruntime import InferenceSession

    from tests.decode_nodes.in_onnxruntime import session_options

    graph = with_decode(onnx.load(heads), spec)
    assert [dim.dim_value for dim in graph.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 32, 64]
    session = InferenceSession(graph.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
    number, found, scores, classes, _ = session.run(None, {"image": preprocess(scene(120, 160), spec)})
    clear = scores[0, : number.item()] > 0.9
    pixels = np.clip(found[0, : number.item()][clear], 0, 1) * np.float32([160, 120, 160, 120])
    got = Detections(pixels, scores[0, : number.item()][clear], classes[0, : number.item()][clear].astype(np.int64))
    assert_marks(got, 120, 160)


@pytest.mark.slow
def test_tensorrts_plugins_give_the_cpus_boxes(heads):
    """With the real bindings, on the emulated GPU; five frames of noise, see ``test_plugin_network``."""
    assert equal_frames(11, "ahead-of-time", heads) == 5


@pytest.mark.parametrize("resize", ["linear", "area"])
def test_deploy_files_name_its_sides(resize, spec, tmp_path):
    wide = replace(spec, resize=resize, mean=(127.5,) * 3, std=(64.0,) * 3)
    made = deployed(tmp_path, wide)
    assert tensors(triton.config(made))["image"] == ("TYPE_FP32", (1, 3, 32, 64))
    page = triton.page(made)
    assert "to 64×32 that" in page
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict = {}
    exec(code, names)
    frame = np.random.default_rng(0).integers(0, 256, (90, 200, 3), np.uint8)
    np.testing.assert_array_equal(names["preprocess"](frame), preprocess(frame, wide))
