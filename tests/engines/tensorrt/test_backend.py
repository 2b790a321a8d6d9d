"""TensorRT's part of a bundle: options, kernels and facts, through the child process, which imports a fake module."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from ssd_edge.engines.base import BuildOptions
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.engines.kernels.compiler import CompiledKernels
from ssd_edge.engines.kernels.images import KernelImage
from ssd_edge.engines.tensorrt import backend
from ssd_edge.errors import BackendError, BundleCompatibilityError, MissingDependencyError
from tests.helpers import ROOT, plan_entry, sentence, silent, small_spec

CHILD = """
import os, sys
sys.path.insert(0, {root!r})
from tests.engines import fake_tensorrt
fake = fake_tensorrt.FakeTensorRt()
if os.environ.get("DIES"):
    os._exit(7)
sys.modules["tensorrt"] = fake
"""


class Driver:
    """A driver with one GPU, a Jetson's."""

    def device_count(self):
        return 1

    def device_name(self, index):
        return "Orin"

    def compute_capability(self, index):
        return (8, 7)

    def release(self):
        return (13, 0)

    def adopt_stream(self, stream):
        return stream

    def disown_stream(self, stream):
        pass


@pytest.fixture
def device(monkeypatch, tmp_path):
    """A machine with TensorRT 10.16 and a GPU."""
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    (fakes / "tensorrt.py").write_text(CHILD.format(root=str(ROOT)))
    monkeypatch.setenv("PYTHONPATH", str(fakes))
    monkeypatch.setattr(backend, "open_driver", Driver)
    monkeypatch.setattr(backend, "installed_version", lambda: "10.16.1.11")


def test_a_bundle(device, heads_onnx, tmp_path):
    output = tmp_path / "parts.engine"
    told = []
    options = BuildOptions(decode="host-launch", workspace_mib=32, optimisation_level=4)
    manifest = build_bundle(heads_onnx, output, "tensorrt", options=options, progress=lambda *step: told.append(step))
    (plan,) = manifest.plans
    assert (plan.backend, plan.version, plan.precision) == ("tensorrt", "10.16.1.11", "FP16")
    assert plan.files[0] == "model.plan"
    assert {"timing.cache", "layers.json"} < set(plan.files)
    assert sum(name.startswith("kernels.sm_87.") for name in plan.files) == 2
    facts = plan.facts
    assert (facts["decode"], facts["compute_capability"], facts["gpu"]) == ("host-launch", "8.7", "Orin")
    assert (facts["driver"], facts["max_batch"], facts["optimisation_level"]) == ("13.0", "1", "4")
    assert (facts["version_compatible"], facts["hardware_compatible"]) == ("no", "none")
    assert "plugin_version" not in facts
    assert facts["timing"] == "measured"
    assert told == [(1, 2), (2, 2)]
    assert read_manifest(output) == manifest
    again = build_bundle(heads_onnx, output, "tensorrt", options=options)
    assert again.plans[0].facts["timing"] == "taken from the bundle's cache"


def test_a_timing_cache_of_other_builds(device, heads_onnx, tmp_path):
    """The bundle's own goes before it."""
    (tmp_path / "other.cache").write_bytes(b"this GPU")
    options = BuildOptions(decode="host-launch", timing_cache=tmp_path / "other.cache")
    for end in (b"this GPU+", b"this GPU++"):
        manifest = build_bundle(heads_onnx, tmp_path / "parts.engine", "tensorrt", options=options)
        assert manifest.plans[0].facts["timing"] == "taken from the bundle's cache"
        assert (tmp_path / "parts.engine" / "timing.cache").read_bytes() == end
    assert (tmp_path / "other.cache").read_bytes() == b"this GPU"


def test_a_build_that_dies_leaves_the_old_bundle(device, heads_onnx, tmp_path, monkeypatch):
    output = tmp_path / "parts.engine"
    options = BuildOptions(decode="host-launch")
    build_bundle(heads_onnx, output, "tensorrt", options=options)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    monkeypatch.setenv("DIES", "1")
    with pytest.raises(BackendError, match="TensorRT died of an error of its own, exit code 7"):
        build_bundle(heads_onnx, output, "tensorrt", options=options)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"parts.engine", "fakes"}


@pytest.fixture
def asked(device, monkeypatch) -> list[dict[str, object]]:
    """Record the request to the builder's process instead of starting it."""
    requests: list[dict[str, object]] = []
    monkeypatch.setattr(backend, "ask_child", lambda module, library, asked, progress: requests.append(asked) or {})
    return requests


@pytest.mark.parametrize(
    "options",
    [
        BuildOptions(),
        BuildOptions("FP32", (), "python", 64, 0, True, "ampere-plus", None, False, 4),
        BuildOptions("FP16", (), "host-launch", 0, 5, False, "same-compute-capability", 0, True, 1),
        BuildOptions(decode="ahead-of-time", dla_core=1),
    ],
)
def test_every_option_reaches_the_builder(options, asked, heads_onnx, tmp_path):
    plan = backend.build(heads_onnx, small_spec(), tmp_path, options, silent)
    (request,) = asked
    wanted = {
        **asdict(options),
        "precision": options.precision or "FP16",
        "form": options.decode or "ahead-of-time",
        "hardware_compatible": options.hardware_compatible or "none",
        "optimisation_level": -1 if options.optimisation_level is None else options.optimisation_level,
        "dla_core": -1 if options.dla_core is None else options.dla_core,
    }
    del wanted["decode"], wanted["compute_capabilities"], wanted["timing_cache"]  # the last is a file, in its place
    assert {name: request[name] for name in wanted} == wanted
    assert plan.facts.get("plugin_version") == (None if options.decode == "host-launch" else "1")
    assert (plan.facts["max_batch"], plan.facts["hardware_compatible"]) == (
        str(options.max_batch),
        wanted["hardware_compatible"],
    )


@pytest.mark.parametrize(
    ("form", "release", "kernels"),
    [
        ("host-launch", (13, 0), ""),
        ("python", (13, 0), "cubin"),
        ("python", (13, 2), "cubin"),
        ("ahead-of-time", (13, 2), "ptx"),
        ("ahead-of-time", (13, 0), None),
        ("python", (12, 6), None),
        ("host-launch", (12, 6), None),
    ],
)
def test_kernels_that_the_driver_does_not_take_stop_a_build_before_it_begins(
    form, release, kernels, asked, heads_onnx, tmp_path, monkeypatch
):
    """A cubin runs with any driver of its major CUDA release, PTX, as in a plan, only from its own release on."""
    images = {KernelImage("sm_87", (13, 2), kind): kind.encode() for kind in ("cubin", "ptx")}
    monkeypatch.setattr(backend, "compile_kernels", lambda architecture: CompiledKernels(images, ()))
    monkeypatch.setattr(Driver, "release", lambda self: release)
    if kernels is None:
        with pytest.raises(
            BundleCompatibilityError, match=r"compiled by CUDA 13\.2, and this driver knows no"
        ) as error:
            backend.build(heads_onnx, small_spec(), tmp_path, BuildOptions(decode=form), silent)
        sentence(error)
        assert asked == []
    else:
        backend.build(heads_onnx, small_spec(), tmp_path, BuildOptions(decode=form), silent)
        assert Path(asked[0]["kernels"]).suffix == (kernels and f".{kernels}")


def test_the_release_of_a_jetson_is_a_fact(asked, heads_onnx, tmp_path, monkeypatch):
    monkeypatch.setattr(backend.jetson, "release", lambda host: (36, 4))
    assert backend.build(heads_onnx, small_spec(), tmp_path, BuildOptions(), silent).facts["jetpack"] == "36.4"
    monkeypatch.setattr(backend.jetson, "release", lambda host: None)
    assert "jetpack" not in backend.build(heads_onnx, small_spec(), tmp_path, BuildOptions(), silent).facts


def test_old_releases_large_models_and_missing_packages(asked, heads_onnx, tmp_path, monkeypatch):
    with pytest.raises(BackendError, match="hold batch up to 65535"):
        backend.build(heads_onnx, small_spec(), tmp_path, BuildOptions(max_batch=70000), silent)
    monkeypatch.setattr(backend, "installed_version", lambda: "8.6.1")
    with pytest.raises(BackendError, match=r"TensorRT 8\.6\.1 is too old: 10\.3 or later is needed"):
        backend.build(heads_onnx, small_spec(), tmp_path, BuildOptions(), silent)
    monkeypatch.setattr("ssd_edge.engines.nvidia.needed.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="needs onnx, which is not installed"):
        backend.build(heads_onnx, small_spec(), tmp_path, BuildOptions(), silent)
    assert asked == []


def test_no_tensorrt_and_no_gpu(heads_onnx, tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "installed_version", lambda: None)
    with pytest.raises(MissingDependencyError, match=r"needs TensorRT, which is not installed: pip install"):
        build_bundle(heads_onnx, tmp_path / "a.engine", "tensorrt")
    monkeypatch.setattr(backend, "installed_version", lambda: "10.3.0")
    monkeypatch.setattr(Driver, "device_count", lambda self: 0)
    monkeypatch.setattr(backend, "open_driver", Driver)
    with pytest.raises(BackendError, match="shows no GPU; a plan of TensorRT is built on the GPU that runs it"):
        build_bundle(heads_onnx, tmp_path / "a.engine", "tensorrt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (BuildOptions(optimisation_level=9), r"must be in 0 … 5, but got 9"),
        (BuildOptions(hardware_compatible="all"), "ampere-plus or same-compute-capability, but got 'all'"),
        (BuildOptions(strict=True, dla_core=0), "which --strict forbids: add --decode host-launch"),
        (BuildOptions(dla_core=0, precision="FP32"), "a DLA computes in FP16 and INT8, but FP32 was asked for"),
        (BuildOptions(dla_core=0, max_batch=2), "a DLA takes one size of batch"),
        (BuildOptions(decode="magic"), "no form of decode is called 'magic'"),
        (BuildOptions(precision="INT8"), "INT8 needs heads with Q/DQ"),
        (
            BuildOptions(compute_capabilities=("8.6",)),
            "tensorrt takes no --compute-capability: tensorrt-rtx does",
        ),
    ],
)
def test_options_that_are_wrong(options, words, device, heads_onnx, tmp_path):
    with pytest.raises(BackendError, match=words) as error:
        build_bundle(heads_onnx, tmp_path / "a.engine", "tensorrt", options=options)
    sentence(error)


def test_the_line_for_trtexec():
    folder = Path("parts.engine")
    plan = plan_entry(files=("model.plan",), facts={"decode": "ahead-of-time"})
    line = "trtexec --loadEngine=parts.engine/model.plan --useCudaGraph --useSpinWait --noDataTransfers"
    assert backend.trtexec_line(folder, plan) == line
    facts = {"decode": "library", "dla_core": "1", "version_compatible": "yes"}
    assert backend.trtexec_line(folder, plan_entry(files=("model.plan",), facts=facts)).split()[2:5] == [
        "--staticPlugins=libssd_edge_plugin.so",
        "--useDLACore=1",
        "--versionCompatible",
    ]


@pytest.mark.slow
def test_inspecting_a_bundle_does_not_import_the_builder():
    import subprocess

    code = (
        "import sys; import ssd_edge.engines.tensorrt.backend; "
        "print(sorted({'onnx', 'tensorrt', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
