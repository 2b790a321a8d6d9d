"""A bundle's TensorRT plan from its folder to detections, and why one does not run on a machine.

All of ssd-edge is real, and so are the bundle's kernels; the driver is emulated, and TensorRT is the fake one, which
runs a plan's network on the CPU: its heads, and its decode nodes if it has them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from ssd_edge.decode import Decoder
from ssd_edge.engines.base import PlanEntry
from ssd_edge.engines.cuda.device import open_driver
from ssd_edge.engines.kernels.compiler import compile_kernels
from ssd_edge.engines.plugins.decode_graph import with_decode
from ssd_edge.engines.tensorrt import fitness, runtime
from ssd_edge.engines.tensorrt.fitness import why_unfit
from ssd_edge.engines.tensorrt.runtime import open_engine
from ssd_edge.errors import BackendError, NoHeadsError
from ssd_edge.graph.free_batch import with_free_batch
from ssd_edge.graph.half import to_half
from ssd_edge.preprocess import preprocess
from tests.cuda.emulated import Emulated
from tests.cuda.on_the_stream import OnTheStream
from tests.engines.fake_tensorrt import FakeTensorRt, ICudaEngine, in_half_from_the_start
from tests.helpers import plan_entry, small_spec

FORMS = ["host-launch", "ahead-of-time", "python"]


@pytest.fixture(params=["FP32", "FP16"])
def model(request, heads_onnx: Path) -> onnx.ModelProto:
    model = onnx.load(heads_onnx)
    return to_half(model) if request.param == "FP16" else model


@pytest.fixture
def known(monkeypatch) -> list[str]:
    asked: list[str] = []

    def make_known(form: str, kernels: bytes, trt: object, folder: Path) -> None:
        assert (folder / "model.plan").is_file(), "a library may lie beside the plan"
        asked.append(form)

    monkeypatch.setattr(runtime, "make_known", make_known)
    return asked


def bundled(model: onnx.ModelProto, form: str, folder: Path) -> PlanEntry:
    """A bundle's folder without a manifest, and the plan's entry that the manifest would hold."""
    network = model if form == "host-launch" else with_decode(model, small_spec())
    (folder / "model.plan").write_bytes(network.SerializeToString())
    for image, content in compile_kernels("sm_86").images.items():
        (folder / image.file_name).write_bytes(content)
    names = ("model.plan", *(path.name for path in folder.glob("kernels.*")))
    return plan_entry(backend="tensorrt", version="10.16.1.11", files=names, facts={"decode": form})


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_frames_become_detections(emulated: Emulated, model, form, known, tmp_path: Path) -> None:
    """Reference: the heads on ONNX Runtime between the host's preprocess and decode; equal to the last bit."""
    from onnxruntime import InferenceSession

    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16}[session.get_inputs()[0].type]
    decode, rng, library = Decoder(small_spec()), np.random.default_rng(5), OnTheStream(FakeTensorRt)
    engine = open_engine(tmp_path, bundled(model, form, tmp_path), small_spec(), library.library)
    assert (engine.backend, engine.precision) == ("tensorrt", "FP32")
    assert known == (["python"] if form == "python" else [])
    detector, number = engine.detector(), 0
    for _ in range(4):
        frame = rng.integers(0, 256, (60, 80, 3), np.uint8)
        loc, logits = session.run(["loc", "logits"], {"image": preprocess(frame, small_spec()).astype(kind)})
        wanted = decode(loc[0].astype(np.float32), logits[0].astype(np.float32), (60, 80))
        detections = detector(frame)
        np.testing.assert_array_equal(detections.boxes, wanted.boxes)
        np.testing.assert_array_equal(detections.scores, wanted.scores)
        np.testing.assert_array_equal(detections.labels, wanted.labels)
        number += len(wanted)
    assert number > 40
    if form != "host-launch":
        with pytest.raises(NoHeadsError, match="carries its decode"):
            engine.submit(preprocess(frame, small_spec()))
    engine.close()


def in_batches_of(most: int, plan: PlanEntry) -> PlanEntry:
    return plan_entry(**{**vars(plan), "facts": {**plan.facts, "max_batch": str(most)}})


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_batches_of_a_plan_that_takes_them(emulated: Emulated, model, form, known, tmp_path: Path) -> None:
    """Reference: each frame alone; to the last bit. All executions of a slot work in the memory of that slot."""
    library, rng = OnTheStream(FakeTensorRt).library, np.random.default_rng(5)
    library.max_batch, frames = 3, rng.integers(0, 256, (3, 60, 80, 3), np.uint8)
    plan = in_batches_of(3, bundled(with_free_batch(model), form, tmp_path))
    with open_engine(tmp_path, plan, small_spec(), library) as engine:
        detector = engine.detector()
        assert (engine.max_batch, detector.max_batch) == (3, 3)
        wanted = [detector(frame) for frame in frames]
        assert min(map(len, wanted)) > 5
        for batch in ([0, 1], [2, 1, 0], [2], [0, 2, 1], [1, 2]):
            results = detector.submit_batch([frames[number] for number in batch])()
            for number, result in zip(batch, results, strict=True):
                np.testing.assert_array_equal(result.detections.boxes, wanted[number].boxes)
                np.testing.assert_array_equal(result.detections.scores, wanted[number].scores)
                np.testing.assert_array_equal(result.detections.labels, wanted[number].labels)
        with pytest.raises(ValueError, match="a batch must have 1 to 3 frames, but got 4"):
            detector.submit_batch([frames[0]] * 4)
        assert len(library.given) == 4  # one image in both slots, then two in one, and three in the other
        assert len({address for address, _ in library.given}) == 2
        assert {size for _, size in library.given} == {ICudaEngine.device_memory_size_v2}
        if form == "host-launch":
            images = np.concatenate([preprocess(frame, small_spec()) for frame in frames])
            heads = engine.submit(images)()
            assert (len(heads.loc), len(heads.logits)) == (3, 3)


def test_a_plan_that_takes_fewer_images_than_its_manifest_says(emulated: Emulated, heads_onnx, tmp_path: Path) -> None:
    library = OnTheStream(FakeTensorRt).library
    library.max_batch = 4
    plan = in_batches_of(8, bundled(with_free_batch(onnx.load(heads_onnx)), "host-launch", tmp_path))
    with pytest.raises(BackendError, match=r"its manifest: it must take 8 images at once, but takes 4$"):
        open_engine(tmp_path, plan, small_spec(), library)


@pytest.mark.slow
def test_a_plan_of_interface_1_still_runs(emulated: Emulated, heads_onnx, known, tmp_path: Path) -> None:
    """Built by a release whose counts were (B,) and whose image was FP16 in an FP16 network."""
    new = tmp_path / "new"
    new.mkdir()
    half = to_half(onnx.load(heads_onnx))
    frame = np.random.default_rng(5).integers(0, 256, (60, 80, 3), np.uint8)
    found = []
    for folder in (tmp_path, new):
        plan = bundled(half, "ahead-of-time", folder)
        if folder == tmp_path:
            (folder / "model.plan").write_bytes(_of_interface_1(onnx.load(folder / "model.plan")))
        with open_engine(folder, plan, small_spec(), OnTheStream(FakeTensorRt).library) as engine:
            found.append(engine.detector()(frame))
    assert len(found[0]) > 5
    np.testing.assert_array_equal(found[0].boxes, found[1].boxes)
    np.testing.assert_array_equal(found[0].scores, found[1].scores)


def _of_interface_1(model: onnx.ModelProto) -> bytes:
    """The graph that earlier releases made: counts straight from merge, no Cast."""
    names = {"num_detections", "num_cut"}
    for shape in [node for node in model.graph.node if names & set(node.output)]:
        model.graph.node.remove(shape)
    for node in model.graph.node:
        node.output[:] = [name.removeprefix("merged_") for name in node.output]
    in_half_from_the_start(model.graph)
    for value in model.graph.output:
        if value.name in names:
            del value.type.tensor_type.shape.dim[1:]
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("deserialize_cuda_engine", r"TensorRT cannot load .*model\.plan: it failed$"),
        ("create_execution_context", r"TensorRT cannot run .*model\.plan on this GPU: it failed$"),
        ("set_input_shape", r"TensorRT refused a batch of 1"),
        ("set_tensor_address", r"TensorRT refused the address of image"),
        ("execute_async_v3", r"TensorRT failed"),
    ],
)
def test_a_call_that_the_library_refuses(emulated: Emulated, heads_onnx, tmp_path: Path, name, words) -> None:
    library = OnTheStream(FakeTensorRt).library
    library.fails = {name: "it failed"}
    plan = bundled(onnx.load(heads_onnx), "host-launch", tmp_path)
    with pytest.raises(BackendError, match=words):
        open_engine(tmp_path, plan, small_spec(), library)


def test_a_plan_of_another_network(emulated: Emulated, heads_onnx, tmp_path: Path) -> None:
    """The manifest says that decode is inside although it is not, and the other way round."""
    model = onnx.load(heads_onnx)
    for really, said in (("host-launch", "ahead-of-time"), ("ahead-of-time", "host-launch")):
        plan = bundled(model, really, tmp_path)
        plan = plan_entry(**{**vars(plan), "facts": {"decode": said}})
        with pytest.raises(BackendError, match="does not hold the network of its manifest: it must have image"):
            open_engine(tmp_path, plan, small_spec(), OnTheStream(FakeTensorRt).library)


def spoilt(plan: PlanEntry, folder: Path, name: str, *, kind: int | None = None, batch: int | None = None) -> PlanEntry:
    """Copy a plan with another type or batch of one tensor."""
    model = onnx.load(folder / "model.plan")
    (value,) = (one for one in (*model.graph.input, *model.graph.output) if one.name == name)
    if kind is not None:
        value.type.tensor_type.elem_type = kind
    if batch is not None:
        value.type.tensor_type.shape.dim[0].dim_value = batch
    (folder / "model.plan").write_bytes(model.SerializeToString())
    return plan


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("boxes", {"kind": onnx.TensorProto.FLOAT16}),
        ("num_cut", {"kind": onnx.TensorProto.FLOAT}),
        ("scores", {"batch": 4}),
    ],
)
def test_a_plan_whose_tensors_are_others(
    emulated: Emulated, heads_onnx, tmp_path: Path, monkeypatch, name, change
) -> None:
    """Such tensors would be misread, or written past the end of their memory."""
    monkeypatch.setattr(ICudaEngine, "outputs", None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *rest, **more: None)  # which would refuse it first
    plan = spoilt(bundled(onnx.load(heads_onnx), "ahead-of-time", tmp_path), tmp_path, name, **change)
    with pytest.raises(BackendError, match="does not hold the network of its manifest: it must have image"):
        open_engine(tmp_path, plan, small_spec(), FakeTensorRt())


@pytest.mark.parametrize(
    ("facts", "allowed", "core"),
    [
        ({}, False, -1),
        ({"version_compatible": "no"}, False, -1),
        ({"version_compatible": "yes"}, True, -1),
        ({"dla_core": "1"}, False, 1),
    ],
)
def test_settings_of_the_runtime(emulated: Emulated, heads_onnx, tmp_path: Path, facts, allowed, core) -> None:
    """Settings are made before the runtime gets the plan with its host code."""
    library = OnTheStream(FakeTensorRt).library
    library.dla_cores = 2
    plan = bundled(onnx.load(heads_onnx), "host-launch", tmp_path)
    plan = plan_entry(**{**vars(plan), "facts": {**plan.facts, **facts}})
    open_engine(tmp_path, plan, small_spec(), library).close()
    (told,) = library.runtimes
    assert (told.engine_host_code_allowed, told.DLA_core) == (allowed, core)


@pytest.mark.parametrize(("core", "cores", "words"), [("0", 0, "has none"), ("2", 2, "has 2, counted from 0")])
def test_a_dla_that_is_not_there(emulated: Emulated, heads_onnx, tmp_path: Path, core, cores, words) -> None:
    library = OnTheStream(FakeTensorRt).library
    library.dla_cores = cores
    plan = bundled(onnx.load(heads_onnx), "host-launch", tmp_path)
    plan = plan_entry(**{**vars(plan), "facts": {**plan.facts, "dla_core": core}})
    with pytest.raises(BackendError, match=rf"runs on DLA {core}, and this machine {words}: build it [^\n]*$"):
        open_engine(tmp_path, plan, small_spec(), library)


def test_no_library(emulated: Emulated, heads_onnx, tmp_path: Path, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendError, match="TensorRT cannot be loaded: "):
        open_engine(tmp_path, bundled(onnx.load(heads_onnx), "host-launch", tmp_path), small_spec())


FACTS = {
    "decode": "ahead-of-time",
    "plugin_version": "1",
    "compute_capability": "8.6",
    "gpu": "NVIDIA A",
    "driver": "13.0",
    "hardware_compatible": "none",
    "version_compatible": "no",
}


@pytest.mark.parametrize(
    ("machine", "installed", "facts", "words"),
    [
        ({}, "10.16.1.11", {}, None),
        ({}, "10.16.1.99", {}, None),
        ({}, None, {}, r"needs TensorRT 10\.16\.1\.11, which is not installed: pip install 'tensorrt==10\.16\.1\.\*'"),
        ({}, "10.15.0.1", {}, r"was built by TensorRT 10\.16\.1\.11, and 10\.15\.0\.1 is installed: build it"),
        ({}, "10.17.0.1", {"version_compatible": "yes"}, None),
        ({}, "10.15.0.1", {"version_compatible": "yes"}, "for that and later releases of 10, and 10.15.0.1 is"),
        ({}, "11.4.0.1", {"version_compatible": "yes"}, "for that and later releases of 10, and 11.4.0.1 is"),
        ({"devices": 0}, "10.16.1.11", {}, "no GPU"),
        ({"major": 8, "minor": 9}, "10.16.1.11", {}, r"of compute capability 8\.6, and this machine's .* has 8\.9"),
        ({"major": 8, "minor": 9}, "10.16.1.11", {"hardware_compatible": "ampere-plus"}, None),
        ({"major": 7, "minor": 5}, "10.16.1.11", {"hardware_compatible": "ampere-plus"}, r"compute capability 8\.0"),
        ({}, "10.16.1.11", {"hardware_compatible": "ampere-plus", "dla_core": "0"}, "build it again"),
        ({}, "10.16.1.11", {"plugin_version": "2"}, "decode plugins of version 2, and this ssd-edge has version 1"),
        ({"release": 12060}, "10.16.1.11", {}, r"with a driver for CUDA 13\.0, and this one is for 12\.6"),
    ],
)  # fmt: skip
def test_why_a_plan_does_not_run_here(emulated: Emulated, monkeypatch, machine, installed, facts, words) -> None:
    import re

    monkeypatch.setattr(fitness, "installed_version", lambda: installed)
    emulated.machine(**machine)
    names = ("model.plan", "kernels.sm_86.cuda13.0.cubin", "kernels.sm_75.cuda13.0.ptx")
    plan = plan_entry(backend="tensorrt", version="10.16.1.11", files=names, facts={**FACTS, **facts})
    try:
        reason = why_unfit(plan, open_driver())
    except BackendError as error:
        reason = str(error)
    if words is None:
        assert reason is None
    else:
        assert reason is not None
        assert re.search(words, reason), reason
        assert "\n" not in reason


@pytest.mark.parametrize(
    ("here", "words"), [((36, 4, 3), None), ((38, 2), r"Jetson Linux 36\.4\.3, and this one is 38\.2")]
)
def test_another_jetpack(emulated: Emulated, monkeypatch, here, words) -> None:
    monkeypatch.setattr(fitness, "installed_version", lambda: "10.3.0")
    monkeypatch.setattr(fitness.jetson, "release", lambda host: here)
    plan = plan_entry(
        version="10.3.0",
        files=("a", "kernels.sm_86.cuda13.0.cubin"),
        facts={**FACTS, "decode": "host-launch", "jetpack": "36.4.3"},
    )
    reason = why_unfit(plan, open_driver())
    assert (reason is None) if words is None else words.replace("\\", "") in reason


def test_tensorrt_of_a_jetson_does_not_come_by_pip(emulated: Emulated, monkeypatch) -> None:
    monkeypatch.setattr(fitness, "installed_version", lambda: None)
    monkeypatch.setattr(fitness.jetson, "release", lambda host: (36, 4, 3))
    reason = why_unfit(plan_entry(version="10.3.0", facts=FACTS), open_driver())
    assert reason is not None
    assert reason.startswith(
        "needs TensorRT 10.3.0, which is not installed: sudo apt update && sudo apt install nvidia"
    )
    assert "pip install" not in reason


@pytest.mark.parametrize(("form", "words"), [("host-launch", None), ("ahead-of-time", "knows no release after 13.0")])
def test_ptx_in_the_plan_of_a_newer_release_than_the_driver(emulated: Emulated, monkeypatch, form, words) -> None:
    """A driver takes a cubin of its major release, which host-launch needs, and PTX up to its own release only."""
    monkeypatch.setattr(fitness, "installed_version", lambda: "10.16.1.11")
    names = ("model.plan", "kernels.sm_86.cuda13.2.cubin", "kernels.sm_86.cuda13.2.ptx")
    plan = plan_entry(version="10.16.1.11", files=names, facts={**FACTS, "decode": form})
    reason = why_unfit(plan, open_driver())
    assert (reason is None) if words is None else words in str(reason)
