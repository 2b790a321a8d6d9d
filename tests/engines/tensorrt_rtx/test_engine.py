"""A bundle's RTX plan from its folder to detections.

All of ssd-edge is real, and so are the bundle's kernels; the driver is emulated, and TensorRT-RTX is the fake one,
which runs the heads of the plan on the CPU.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from ssd_edge.decode import Decoder
from ssd_edge.engines.base import PlanEntry
from ssd_edge.engines.cuda.device import open_driver
from ssd_edge.engines.kernels.compiler import compile_kernels
from ssd_edge.engines.tensorrt_rtx import fitness
from ssd_edge.engines.tensorrt_rtx.fitness import why_unfit
from ssd_edge.engines.tensorrt_rtx.runtime import open_engine
from ssd_edge.errors import BackendError, BundleCompatibilityError
from ssd_edge.graph.half import to_half
from ssd_edge.preprocess import preprocess
from tests.cuda.emulated import Emulated
from tests.cuda.on_the_stream import OnTheStream
from tests.engines.fake_tensorrt_rtx import FAILURE, FakeTensorRtRtx
from tests.helpers import plan_entry, small_spec


@pytest.fixture(params=["FP32", "FP16"])
def folder(request, heads_onnx: Path, tmp_path: Path) -> Path:
    """A bundle's folder without a manifest, as if load_bundle had checked it."""
    model = onnx.load(heads_onnx)
    (tmp_path / "heads.rtx").write_bytes((to_half(model) if request.param == "FP16" else model).SerializeToString())
    for image, content in compile_kernels("sm_86").images.items():
        (tmp_path / image.file_name).write_bytes(content)
    return tmp_path


def files(folder: Path) -> tuple[str, ...]:
    return ("heads.rtx", *(path.name for path in folder.glob("kernels.*")))


def open_it(folder: Path, heads: OnTheStream):
    return open_engine(
        folder, plan_entry(backend="tensorrt-rtx", files=files(folder), precision="FP16"), small_spec(), heads.library
    )


def frames(number: int):
    rng = np.random.default_rng(5)
    for _ in range(number):
        yield rng.integers(0, 256, (60, 80, 3), np.uint8)


def test_frames_become_detections(emulated: Emulated, folder: Path) -> None:
    """Reference: the plan's heads on ONNX Runtime between the host's preprocess and decode; equal to the last bit."""
    from onnxruntime import InferenceSession

    session = InferenceSession(str(folder / "heads.rtx"), providers=["CPUExecutionProvider"])
    kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16}[session.get_inputs()[0].type]
    decode = Decoder(small_spec())
    engine = open_it(folder, OnTheStream(FakeTensorRtRtx))
    assert (engine.backend, engine.precision, engine.spec) == ("tensorrt-rtx", "FP16", small_spec())
    detector = engine.detector()
    pending = []
    for frame in frames(5):
        loc, logits = session.run(["loc", "logits"], {"image": preprocess(frame, small_spec()).astype(kind)})
        pending.append(
            (detector.submit(frame), decode(loc[0].astype(np.float32), logits[0].astype(np.float32), (60, 80)))
        )
        if len(pending) == detector.depth:
            finish, wanted = pending.pop(0)
            detections = finish().detections
            assert len(wanted) > 10
            np.testing.assert_array_equal(detections.boxes, wanted.boxes)
            np.testing.assert_array_equal(detections.scores, wanted.scores)
            np.testing.assert_array_equal(detections.labels, wanted.labels)
    pending.pop(0)[0]()
    engine.close()
    assert (folder / "jit.sm_86.cache").read_bytes() == b"compiled for this GPU"


def test_heads_alone(emulated: Emulated, folder: Path) -> None:
    """Heads as eval and the host's decode take them."""
    engine = open_it(folder, OnTheStream(FakeTensorRtRtx))
    image = preprocess(next(frames(1)), small_spec())
    heads = engine.submit(image)()
    assert (heads.loc.dtype, heads.loc.shape) == (np.float32, (1, 56, 4))
    assert heads.logits.any()
    engine.close()


@pytest.mark.parametrize("name", ["deserialize_cuda_engine", "create_execution_context", "execute_async_v3"])
def test_a_library_that_fails_leaves_nothing_behind(emulated: Emulated, folder: Path, name: str) -> None:
    heads = OnTheStream(FakeTensorRtRtx)
    heads.library.fails = {name: FAILURE}
    with pytest.raises(BackendError, match="TensorRT-RTX") as error:
        open_it(folder, heads)
    assert "\n" not in str(error.value)
    assert emulated.leaks() == {}


def test_out_of_device_memory(emulated: Emulated, folder: Path) -> None:
    emulated.machine(memory=1 << 13)
    with pytest.raises(BackendError, match="out of memory"):
        open_it(folder, OnTheStream(FakeTensorRtRtx))
    assert emulated.leaks() == {}


def test_a_gpu_without_kernels(emulated: Emulated, folder: Path) -> None:
    emulated.machine(major=7, minor=5)
    with pytest.raises(BundleCompatibilityError, match=r"no kernels for compute capability 7\.5"):
        open_it(folder, OnTheStream(FakeTensorRtRtx))
    assert emulated.leaks() == {}


# Whether a plan runs on this machine.


def entry(**changes) -> PlanEntry:
    return plan_entry(
        backend="tensorrt-rtx",
        version="1.7.1.116",
        facts={"compute_capabilities": "8.6"},
        files=("heads.rtx", "kernels.sm_86.cuda13.0.cubin", "kernels.sm_86.cuda13.0.ptx"),
    )


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({}, None),
        ({"devices": 0}, "no GPU"),
        ({"major": 12, "minor": 0}, r"--compute-capability 8\.6 12\.0"),
        ({"release": 12060}, r"knows no release after 12\.6: install a newer driver"),
    ],
)
def test_why_a_plan_does_not_run_on_it(emulated: Emulated, monkeypatch, machine, words) -> None:
    """The driver is asked through cuda-bindings."""
    monkeypatch.setattr(fitness, "installed_version", lambda: "1.7.1.116")
    emulated.machine(**machine)
    try:
        reason = why_unfit(entry(), open_driver())
    except BackendError as error:
        reason = str(error)
    assert (reason is None) if words is None else re.search(words, reason)
