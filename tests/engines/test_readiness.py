"""Which backends can run on imitated machines, and the reasons given for the others."""

from __future__ import annotations

from importlib import metadata

import pytest

from ssd_edge.engines import readiness as module
from ssd_edge.engines.backends import BACKENDS
from ssd_edge.engines.kernels.images import KernelImage, choose_image
from ssd_edge.engines.readiness import READINESS, readiness
from ssd_edge.errors import BundleCompatibilityError
from ssd_edge.machine import cuda
from ssd_edge.machine.host import Ran, UnansweredError
from tests.machine.machines import MACHINES, agx_orin_6, agx_orin_7, but, laptop, machine, rtx_desktop

ALL = {"tensorrt": module.tensorrt, **READINESS}
CPU = "ssd-edge build-engine HEADS.onnx --backend openvino"


def ready(host, name):
    return readiness(host, {name: ALL[name]})[name]


def gpu(root, name="NVIDIA GeForce RTX 4090", capability=(8, 9), release=(13, 0), **rest):
    card = {"name": name, "compute_capability": list(capability), "memory": 24 << 30, "integrated": False}
    return machine(root, children={"driver": {"cuda": list(release), "gpus": [card]}}, **rest)


def test_every_backend_is_asked_for():
    """Each backend in BACKENDS has its line in READINESS, in the same order."""
    assert list(READINESS) == list(BACKENDS)


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("agx_orin_6", {"openvino", "onnxruntime"}),
        ("agx_orin_7", {"tensorrt", "openvino", "onnxruntime"}),
        ("rtx_desktop", {"tensorrt-rtx", "openvino", "onnxruntime"}),
        ("laptop", {"openvino", "onnxruntime"}),
    ],
)
def test_backends_that_run_on_each_machine(tmp_path, name, run):
    ready = readiness(MACHINES[name](tmp_path), ALL)
    assert {backend for backend, one in ready.items() if one.runs} == run
    for one in ready.values():
        assert bool(one.runs_on) == one.runs
        for obstacle in one.obstacles:
            assert obstacle.reason
            assert str(obstacle.remedy)


def test_the_release_and_hardware_of_a_backend(tmp_path):
    ready = readiness(rtx_desktop(tmp_path))
    assert ready["tensorrt-rtx"].runs_on == "TensorRT-RTX 1.7.1.116 on NVIDIA GeForce RTX 4090"
    assert ready["openvino"].runs_on == "OpenVINO 2025.3.0 on the CPU"
    assert ready["onnxruntime"].to_json() == {
        "runs": True,
        "runs_on": "ONNX Runtime 1.23.0 on the CPU",
        "obstacles": [],
        "to_build": [],
        "notes": [],
    }


# On the CPU.


@pytest.mark.parametrize(("name", "package"), [("openvino", "openvino"), ("onnxruntime", "onnxruntime")])
def test_a_package_that_is_missing(tmp_path, name, package):
    host = but(laptop(tmp_path), packages={package: None})
    assert ready(host, name).sentence().endswith(f"is not installed: pip install {package}")
    assert ready(but(host, has_module=lambda module: module == package), name).runs


# TensorRT-RTX.


def test_without_a_gpu_no_package_helps(tmp_path):
    one = ready(laptop(tmp_path), "tensorrt-rtx")
    assert one.sentence() == f"no NVIDIA GPU: build here for the CPU: {CPU}"
    assert one.to_json()["obstacles"] == [
        {"reason": "no NVIDIA GPU", "advice": "build here for the CPU", "command": CPU},
    ]


@pytest.mark.parametrize("missing", [{"tensorrt-rtx-cu12"}, {"cuda-bindings"}, {"tensorrt-rtx-cu12", "cuda-bindings"}])
def test_packages_that_are_missing(tmp_path, missing):
    one = ready(but(rtx_desktop(tmp_path), packages=dict.fromkeys(missing)), "tensorrt-rtx")
    (obstacle,) = one.obstacles
    assert obstacle.remedy.command == "pip install 'ssd-edge[rtx]'"
    assert ("TensorRT-RTX" in obstacle.reason) == ("tensorrt-rtx-cu12" in missing)


@pytest.mark.parametrize("package", ["tensorrt-rtx-cu13", "tensorrt-rtx"])
def test_other_packages_that_will_do(tmp_path, package):
    packages = {"tensorrt-rtx-cu12": None, "cuda-bindings": None, package: "1.7.1.116", "pycuda": "2025.1"}
    assert ready(but(rtx_desktop(tmp_path), packages=packages), "tensorrt-rtx").runs


@pytest.mark.parametrize("capability", [(6, 1), (8, 7), (9, 0), (11, 0)])
def test_gpus_that_are_not_rtx(tmp_path, capability):
    one = ready(gpu(tmp_path, "NVIDIA H100", capability), "tensorrt-rtx")
    (obstacle,) = one.obstacles
    assert f"and NVIDIA H100 has {capability[0]}.{capability[1]}" in obstacle.reason
    assert obstacle.remedy.command == CPU


def test_a_driver_that_is_too_old(tmp_path):
    packages = {"tensorrt-rtx-cu12": "1.7.1.116", "cuda-bindings": "13.0.3"}
    one = ready(gpu(tmp_path, release=(12, 8), packages=packages), "tensorrt-rtx")
    assert "compiled by CUDA 13, and this driver knows no release after 12.8" in one.sentence()
    assert ready(gpu(tmp_path, release=(13, 0), packages=packages), "tensorrt-rtx").runs


def test_all_obstacles_are_reported(tmp_path):
    one = ready(gpu(tmp_path, release=(12, 8), packages={}), "tensorrt-rtx")
    assert [obstacle.reason.split(" ", 2)[:2] for obstacle in one.obstacles] == [
        ["the", "kernels"],
        ["TensorRT-RTX", "is"],
    ]


def test_a_driver_that_hangs(tmp_path):
    hangs = UnansweredError("the process that asks for driver gave no answer within 2.5 s")
    ready = readiness(but(rtx_desktop(tmp_path), children={"driver": hangs}), ALL)
    assert str(hangs) in ready["tensorrt-rtx"].sentence()
    assert not ready["tensorrt"].runs
    assert ready["openvino"].runs


# TensorRT.


def test_tensorrt_of_jetpack_is_not_seen_by_an_environment(tmp_path):
    one = ready(agx_orin_6(tmp_path), "tensorrt")
    seen, launcher = one.obstacles
    assert seen.reason == "TensorRT 10.3.0 of the system is not seen by this Python"
    assert "--system-site-packages" in seen.remedy.command
    assert launcher.remedy.command == "pip install 'cuda-bindings==12.*' 'nvidia-cuda-nvrtc-cu12==12.6.*'"


@pytest.mark.parametrize(
    ("dpkg", "command"),
    [
        ("", "sudo apt update && sudo apt install nvidia-jetpack"),
        ("libnvinfer10 10.3.0.30-1+cuda12.5 installed\n", "sudo apt install python3-libnvinfer"),
    ],
)
def test_a_jetson_without_tensorrt(tmp_path, dpkg, command):
    host = but(agx_orin_6(tmp_path), commands={"dpkg-query": Ran(0, dpkg, "")}, packages={"cuda-bindings": "12.6.2"})
    (obstacle,) = ready(host, "tensorrt").obstacles
    assert obstacle.remedy.command == command


def test_a_tensorrt_that_is_too_old(tmp_path):
    """JetPack 6.0."""
    one = ready(but(agx_orin_7(tmp_path), packages={"tensorrt": "8.6.2"}), "tensorrt")
    assert (
        one.sentence() == "TensorRT 8.6.2 is installed, and 10.3 is the oldest that will do: flash JetPack 6.2 or later"
    )


@pytest.mark.parametrize(("version", "runs"), [("10.3.0", True), ("10.2.0", False), ("11.4.0.106", True)])
def test_versions_of_tensorrt(tmp_path, version, runs):
    assert ready(gpu(tmp_path, packages={"tensorrt": version, "pycuda": "2025.1"}), "tensorrt").runs == runs


def test_a_tensorrt_whose_package_is_not_known(tmp_path):
    one = ready(
        but(agx_orin_7(tmp_path), packages={"tensorrt": None}, has_module=lambda name: name == "tensorrt"), "tensorrt"
    )
    assert (one.runs, one.runs_on) == (True, "TensorRT of another package on Orin")


def test_tensorrt_on_a_desktop(tmp_path):
    assert ready(rtx_desktop(tmp_path), "tensorrt").sentence() == (
        "TensorRT is not installed: pip install 'ssd-edge[tensorrt]'"
    )


# The driver, the compiler and the packages of CUDA for Python.


def test_a_machine_that_only_runs_engines_needs_no_compiler(tmp_path):
    one = ready(but(rtx_desktop(tmp_path), packages={"nvidia-cuda-nvrtc": None}), "tensorrt-rtx")
    assert one.runs
    (obstacle,) = one.to_build
    assert obstacle.remedy.command == "pip install 'cuda-bindings==13.0.*' 'nvidia-cuda-nvrtc==13.0.*'"
    assert one.why_not_built() == f"NVRTC is not installed: {obstacle.remedy.command}"


@pytest.mark.parametrize(("nvrtc", "noted"), [("13.0.88", False), ("13.5.37", True)])
def test_a_compiler_newer_than_the_driver_is_noted(tmp_path, nvrtc, noted):
    one = ready(but(rtx_desktop(tmp_path), packages={"nvidia-cuda-nvrtc": nvrtc}), "tensorrt-rtx")
    assert (one.runs, one.why_not_built(), bool(one.notes)) == (True, None, noted)
    for note in one.notes:
        assert "NVRTC 13.5 is newer than this driver's CUDA 13.0, which refuses its PTX" in note.reason
        assert "'nvidia-cuda-nvrtc==13.0.*'" in note.remedy.command


def test_packages_of_a_later_major_release_than_the_drivers(tmp_path):
    packages = {"tensorrt": "10.3.0", "cuda-bindings": "13.5.0", "nvidia-cuda-nvrtc": "13.5.37"}
    one = ready(but(agx_orin_6(tmp_path), packages=packages), "tensorrt")
    (obstacle,) = one.obstacles
    assert obstacle.reason == "cuda-bindings 13.5.0 needs a driver of CUDA 13, and this one has 12.6"
    assert obstacle.remedy.command == "pip install 'cuda-bindings==12.*' 'nvidia-cuda-nvrtc-cu12==12.6.*'"


def test_the_compiler_of_the_toolkit_will_do(tmp_path):
    host = but(agx_orin_6(tmp_path), packages={"tensorrt": "10.3.0", "cuda-bindings": "12.9.10"})
    assert ready(host, "tensorrt").to_build
    library = host.path("/usr/local/cuda/lib64/libnvrtc.so.12")
    library.parent.mkdir()
    library.write_text("ELF")
    assert ready(host, "tensorrt").why_not_built() is None


def test_tensorrt_that_cannot_be_imported_for_the_dlas_compiler(tmp_path):
    host = agx_orin_7(tmp_path)
    host.path("/usr/lib/aarch64-linux-gnu/nvidia/libnvdla_compiler.so").write_text("")  # as in a container
    (obstacle,) = ready(host, "tensorrt").obstacles
    assert "libnvdla_compiler.so, which JetPack's TensorRT loads, is missing" in obstacle.reason
    assert obstacle.remedy.command == "sudo apt install nvidia-l4t-dla-compiler"
    host.path("/proc/device-tree/compatible").write_text("nvidia,p3971\0nvidia,tegra264\0")  # a Thor has no DLA
    assert ready(host, "tensorrt").runs


def test_tensorrt_rtx_is_not_for_a_jetson(tmp_path):
    (obstacle,) = ready(agx_orin_7(tmp_path), "tensorrt-rtx").obstacles
    assert "--backend tensorrt" in obstacle.remedy.command


# What is written here a second time, so that nothing has to be imported.


def test_compute_capabilities_are_those_of_the_library():
    trt = pytest.importorskip("tensorrt_rtx")
    known = {divmod(int(name[2:]), 10) for name in trt.ComputeCapability.__members__ if name.startswith("SM")}
    assert set(module.RTX_COMPUTE_CAPABILITIES) == known


@pytest.mark.parametrize("package", cuda.TENSORRT_RTX)
def test_packages_are_those_that_the_backend_looks_for(monkeypatch, package):
    from ssd_edge.engines.tensorrt_rtx import backend as tensorrt_rtx

    def version(asked):
        if asked != package:
            raise metadata.PackageNotFoundError(asked)
        return "1.2.3"

    monkeypatch.setattr(metadata, "version", version)
    assert tensorrt_rtx.installed_version() == "1.2.3"


def test_the_kernels_are_compiled_by_the_release_that_is_told():
    try:
        nvrtc = metadata.version("nvidia-cuda-nvrtc")
    except metadata.PackageNotFoundError:
        pytest.skip("NVRTC is not installed")
    assert int(nvrtc.split(".")[0]) == module.KERNELS_BY_CUDA
    images = [KernelImage("sm_89", (module.KERNELS_BY_CUDA, 0), kind) for kind in ("cubin", "ptx")]
    assert choose_image(images, (8, 9), (module.KERNELS_BY_CUDA, 0)) == images[0]
    with pytest.raises(BundleCompatibilityError):
        choose_image(images, (8, 9), (module.KERNELS_BY_CUDA - 1, 9))
