"""Plans of TensorRT-RTX at run time, over a fake library with the real one's names and parameters, without a GPU."""

from __future__ import annotations

import gc
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from ssd_edge.engines.kernels.launch import heads_buffers
from ssd_edge.engines.nvidia.messages import plain
from ssd_edge.engines.tensorrt_rtx.jit_cache import JitCache
from ssd_edge.engines.tensorrt_rtx.runtime import TensorRtRtxNetwork
from ssd_edge.errors import BackendError
from ssd_edge.graph.half import to_half
from tests.engines import fake_tensorrt_rtx
from tests.engines.fake_tensorrt_rtx import (
    FAILURE,
    EngineInvalidityDiagnostics,
    EngineValidity,
    FakeTensorRtRtx,
    at_once,
)
from tests.helpers import ROOT, sentence, small_spec

# The fake library has the real one's names and parameters.


@pytest.fixture(scope="module")
def real():
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")


def parameters_of_real(method):
    """Parse the parameters of each overload from a pybind11 method's docstring; without self."""
    text = inspect.getdoc(method)
    overloads = re.findall(rf"\b{method.__name__}\((.*)\)(?: -> |$)", text, re.MULTILINE)
    return [re.findall(r"(?:^|, )(\w+): ", parameters)[1:] for parameters in overloads if "*args" not in parameters]


METHODS = [
    (kind, name)
    for kind in ("Runtime", "ICudaEngine", "IRuntimeConfig", "IRuntimeCache", "IExecutionContext")
    for name, method in vars(getattr(fake_tensorrt_rtx, kind)).items()
    if inspect.isfunction(method) and name not in {"__init__", "__del__", "outputs", "buffers"}
]


def test_the_fake_has_methods():
    assert len(METHODS) == 17


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_a_method_is_the_real_ones(real, kind, name):
    mine = list(inspect.signature(getattr(getattr(fake_tensorrt_rtx, kind), name)).parameters)[1:]
    assert mine in parameters_of_real(getattr(getattr(real, kind), name))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("ICudaEngine", "num_io_tensors"),
        ("ICudaEngine", "device_memory_size_v2"),
        ("IRuntimeConfig", "cuda_graph_strategy"),
    ],
)
def test_a_property_is_the_real_ones(real, kind, name):
    assert isinstance(vars(getattr(real, kind))[name], property)
    assert not inspect.isfunction(vars(getattr(fake_tensorrt_rtx, kind))[name])


@pytest.mark.parametrize(
    "kind",
    [
        *("DataType", "EngineValidity", "EngineInvalidityDiagnostics", "CudaGraphStrategy"),
        "ExecutionContextAllocationStrategy",
    ],
)
def test_an_enumeration_is_the_real_ones(real, kind):
    members = {name: int(value) for name, value in getattr(real, kind).__members__.items()}
    mine = {name: value.value for name, value in getattr(fake_tensorrt_rtx, kind).__members__.items()}
    assert mine.items() <= members.items()
    severities = {name: int(value) for name, value in real.ILogger.Severity.__members__.items()}
    assert {name: int(value) for name, value in FakeTensorRtRtx.ILogger.Severity.__members__.items()} == severities


# Running.


@pytest.fixture(params=["FP16", "FP32"])
def plan(request, heads_onnx, tmp_path):
    """A plan for the fake library: heads in ONNX, as the real compiler would get them."""
    model = onnx.load(heads_onnx)
    path = tmp_path / "a.engine" / "heads.rtx"
    path.parent.mkdir()
    path.write_bytes((to_half(model) if request.param == "FP16" else model).SerializeToString())
    return path


class HostMemory:
    """See ``DeviceBuffer``: memory of this process, aligned to 256 bytes."""

    def __init__(self, nbytes):
        self.nbytes, self._memory = nbytes, np.zeros(nbytes + 255, np.uint8)
        self.address = -(-self._memory.ctypes.data // 256) * 256

    def close(self):
        self._memory = None


def opened(plan, library=None, spec=None, allocate=HostMemory):
    cache = JitCache(plan, (8, 9))
    return TensorRtRtxNetwork(plan, spec or small_spec(), "FP16", cache, allocate, library or FakeTensorRtRtx())


class Memory:
    """Device memory of one context."""

    def __init__(self, heads):
        self.arrays = {name: np.zeros(buffer.shape, buffer.dtype) for name, buffer in heads.bound.items()}

    def addresses(self):
        return {name: array.ctypes.data for name, array in self.arrays.items()}


def test_heads_run_where_they_are_bound(plan):
    """Two contexts, each with its own memory; reference: ONNX Runtime on the plan itself, to the last bit."""
    heads = opened(plan)
    session = onnxruntime.InferenceSession(str(plan), providers=["CPUExecutionProvider"])
    contexts = [(heads.context(), Memory(heads)) for _ in range(2)]
    rng = np.random.default_rng(0)
    for context, memory in contexts:
        context.bind(memory.addresses())
        memory.arrays["image"][...] = rng.normal(0, 1, (1, 3, 32, 32))
    for context, _ in contexts:
        context.enqueue(7)
    for _, memory in contexts:
        wanted = session.run(["loc", "logits"], {"image": memory.arrays["image"]})
        for name, right in zip(("loc", "logits"), wanted, strict=True):
            assert right.any()
            np.testing.assert_array_equal(memory.arrays[name], right)
    heads.close()


def test_attributes_of_loaded_heads(plan):
    heads = opened(plan)
    kind = onnx.load(plan).graph.input[0].type.tensor_type.elem_type
    assert heads.bound == heads_buffers(small_spec(), 1, kind == onnx.TensorProto.FLOAT16)
    assert (heads.spec, heads.precision) == (small_spec(), "FP16")
    heads.close()


def test_work_goes_to_the_stream_that_is_named(plan):
    """The work goes to that stream, and nothing is done before the stream reaches it."""
    waiting = []
    heads = opened(plan, FakeTensorRtRtx(lambda context, stream: waiting.append((context, stream))))
    context, memory = heads.context(), Memory(heads)
    context.bind(memory.addresses())
    context.enqueue(0x7F00_0000_1234)
    assert not memory.arrays["logits"].any()
    ((native, stream),) = waiting
    assert stream == 0x7F00_0000_1234
    at_once(native, stream)
    assert memory.arrays["logits"].any()
    heads.close()


def test_the_library_does_not_make_graphs_of_its_own(plan):
    """gpu.py captures its work, and a capture within a capture fails."""
    library = FakeTensorRtRtx()
    heads = opened(plan, library)
    assert heads._config.cuda_graph_strategy is library.CudaGraphStrategy.DISABLED
    heads.close()


def test_each_context_has_memory_of_its_own(plan):
    """TensorRT-RTX refuses other contexts for a plan that was built for capture; the larger of both sizes is right."""
    library, memories = FakeTensorRtRtx(), []

    def allocate(nbytes):
        memories.append(HostMemory(nbytes))
        return memories[-1]

    heads = opened(plan, library, allocate=allocate)
    heads.context(), heads.context()
    assert library.given == [(memory.address, 6000) for memory in memories]
    heads.close()
    assert [memory._memory for memory in memories] == [None, None]


def test_the_library_is_asked_whether_a_run_can_be_captured(plan):
    library = FakeTensorRtRtx()
    heads = opened(plan, library)
    context = heads.context()
    assert context.why_no_graph(7) is None
    library.capturable = False
    assert "cannot be captured: build it again" in context.why_no_graph(7)
    heads.close()


@pytest.mark.slow
def test_closing_releases_the_contexts(plan):
    library = FakeTensorRtRtx()
    heads = opened(plan, library)
    context, _ = heads.context(), heads.context()
    assert library.contexts == 2
    heads.close()
    heads.close()
    gc.collect()
    assert library.contexts == 0
    with pytest.raises(BackendError, match="these heads are closed"):
        context.enqueue(7)


# What fails, fails in one sentence.


@pytest.mark.parametrize("name", ["deserialize_cuda_engine", "create_execution_context"])
def test_a_plan_that_the_library_refuses(plan, name):
    library = FakeTensorRtRtx()
    library.fails = {name: FAILURE}
    with pytest.raises(BackendError, match=r"heads\.rtx") as error:
        opened(plan, library).context()
    assert sentence(error).endswith("it failed")


@pytest.mark.parametrize("name", ["set_tensor_address", "execute_async_v3"])
def test_a_call_that_the_library_refuses(plan, name):
    library = FakeTensorRtRtx()
    heads = opened(plan, library)
    context, memory = heads.context(), Memory(heads)
    context.bind(memory.addresses())
    library.fails = {name: FAILURE}
    call = {
        "set_tensor_address": lambda: context.bind(memory.addresses()),
        "execute_async_v3": lambda: context.enqueue(7),
    }[name]
    with pytest.raises(BackendError, match="TensorRT-RTX") as error:
        call()
    assert sentence(error).endswith("it failed")
    heads.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("MALFORMED_ENGINE", "damaged: build it again"),
        ("VERSION_MISMATCH", "another release of TensorRT-RTX"),
        ("UNSUPPORTED_CC", "compute capability of this GPU"),
        ("OLD_CUDA_DRIVER", "install a newer one"),
        ("OLD_CUDA_RUNTIME", "install a newer driver"),
        ("INSUFFICIENT_GPU_MEMORY", "more memory than this GPU has"),
        ("CUDA_ERROR", "it gave no reason"),
    ],
)
def test_why_a_plan_is_not_valid(plan, name, words):
    library = FakeTensorRtRtx()
    library.validity = EngineValidity.INVALID, int(EngineInvalidityDiagnostics[name])
    with pytest.raises(BackendError, match=f"cannot load .*{words}") as error:
        opened(plan, library)
    sentence(error)


def test_a_plan_that_may_be_slower_runs(plan):
    library = FakeTensorRtRtx()
    library.validity = EngineValidity.SUBOPTIMAL, 0
    opened(plan, library).close()


@pytest.mark.parametrize("changes", [{"labels": ("a", "b", "c")}, {"input_size": (64, 32)}])
def test_a_plan_of_other_heads(plan, changes):
    with pytest.raises(BackendError, match="does not hold the heads of its manifest") as error:
        opened(plan, spec=small_spec(**changes))
    sentence(error)


def test_no_library(plan, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(BackendError, match="TensorRT-RTX cannot be loaded: ") as error:
        TensorRtRtxNetwork(plan, small_spec(), "FP16", JitCache(plan, (8, 9)), HostMemory)
    sentence(error)


REFUSED = """
import sys
from pathlib import Path
from ssd_edge.engines.tensorrt_rtx.jit_cache import JitCache
from ssd_edge.engines.tensorrt_rtx.runtime import TensorRtRtxNetwork
from ssd_edge.errors import BackendError
from tests.helpers import small_spec
for name in sys.argv[1:]:
    try:
        TensorRtRtxNetwork(Path(name), small_spec(), "FP16", JitCache(Path(name), (8, 9)), None)
    except BackendError as error:
        print(error)
"""


@pytest.mark.slow
def test_the_real_library_refuses_a_truncated_plan_and_lives(real, plan, tmp_path):
    """Without a GPU the library also refuses a complete plan; the test shows that the process survives.

    It runs in a process of its own: destroyed beside an emulated driver, the library's runtime waits for ever.
    """
    plans = [tmp_path / f"{size}.rtx" for size in (0, 10, 100, 5000)]
    for path in plans:
        path.write_bytes(plan.read_bytes()[: int(path.stem)])
    child = subprocess.run(
        [sys.executable, "-c", REFUSED, *map(str, plans)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert child.returncode == 0, child.stderr
    sentences = child.stdout.splitlines()
    assert [f"TensorRT-RTX cannot load {path}: " in line for path, line in zip(plans, sentences, strict=True)] == [
        True
    ] * 4


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("plain words", "plain words"),
        ("two\n  lines", "two lines"),
        (
            "[a.cpp::f::48] Error Code 2: Internal Error (x failed. y In f at /_src/a/b.cpp:48)",
            "Internal Error (x failed. y)",
        ),
        ("IBuilder::build: Error Code 4: Usage (no profile. In g at /_src/c.cpp:40)", "Usage (no profile)"),
        (
            "Error reading properties: In h at /_src/p.cpp:130 (cudaError 35: too old) Ensure it.",
            "Error reading properties (cudaError 35: too old) Ensure it.",
        ),
    ],
)
def test_messages_of_the_library_become_plain(said, left):
    assert plain(said) == left


# The JIT cache.


@pytest.fixture(autouse=True)
def user_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return tmp_path / "user"


def test_the_jit_cache_is_written_into_the_bundle(plan):
    library = FakeTensorRtRtx()
    heads = opened(plan, library)
    assert not (plan.parent / "jit.sm_89.cache").exists()
    heads.context()
    assert (plan.parent / "jit.sm_89.cache").read_bytes() == library.compiled
    heads.close()


def test_the_next_start_reads_the_jit_cache(plan, monkeypatch):
    given = []
    original = fake_tensorrt_rtx.IRuntimeCache.deserialize

    def deserialize(self, blob):
        given.append((bytes(blob), original(self, blob)))
        return given[-1][1]

    monkeypatch.setattr(fake_tensorrt_rtx.IRuntimeCache, "deserialize", deserialize)
    for _ in range(2):
        heads = opened(plan)
        heads.context()
        heads.close()
    assert given == [(b"compiled for this GPU", True)]


def test_a_cache_that_the_library_refuses_is_replaced(plan):
    place = plan.parent / "jit.sm_89.cache"
    place.write_bytes(b"compiled for another driver")
    heads = opened(plan)
    heads.context()
    heads.close()
    assert place.read_bytes() == b"compiled for this GPU"


def test_a_cache_that_is_good_is_not_written_again(plan):
    place = plan.parent / "jit.sm_89.cache"
    place.write_bytes(b"compiled for this GPU")
    before = place.stat().st_mtime_ns
    heads = opened(plan)
    heads.context()
    heads.close()
    assert place.stat().st_mtime_ns == before


def test_each_kind_of_gpu_has_its_own(plan):
    JitCache(plan, (8, 6)).write(b"a")
    JitCache(plan, (12, 0)).write(b"b")
    assert JitCache(plan, (8, 6)).read() == b"a"
    assert {path.name for path in plan.parent.glob("jit*")} == {"jit.sm_86.cache", "jit.sm_120.cache"}


def test_a_bundle_that_cannot_be_written_to(plan, user_caches, monkeypatch):
    """The user's caches are the next place; two bundles do not meet there."""

    def refuse(self, *arguments):
        if self.parent == plan.parent:
            raise PermissionError("read-only")
        return original(self, *arguments)

    original = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", refuse)
    cache = JitCache(plan, (8, 9))
    cache.write(b"kept")
    (kept,) = user_caches.rglob("*.cache")
    assert kept.parts[-4:-2] == ("ssd-edge", "jit")
    assert not (plan.parent / "jit.sm_89.cache").exists()
    assert cache.read() == b"kept"
    assert JitCache(plan.with_name("other.rtx"), (8, 9)).read() == b""


def test_no_writable_place_for_the_cache(plan, user_caches):
    user_caches.write_text("a file where a folder should be")
    (plan.parent / "jit.sm_89.cache").mkdir()
    JitCache(plan, (8, 9)).write(b"lost")
    assert JitCache(plan, (8, 9)).read() == b""
