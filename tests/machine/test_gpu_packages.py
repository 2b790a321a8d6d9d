"""The table from drivers to packages: each row can be installed, and each machine gets the commands of its row."""

from __future__ import annotations

import re
import subprocess
from itertools import product

import pytest

from ssd_edge.machine import gpu_packages, jetson
from ssd_edge.machine.cuda_releases import RELEASES, release_for, release_of_jetson
from ssd_edge.machine.gpu_packages import missing
from ssd_edge.machine.host import NotInstalledError, Ran
from tests.helpers import ROOT
from tests.lowest import find_uv
from tests.machine.machines import NO_LIBCUDA, agx_orin_6, agx_orin_7, but, laptop, machine, rtx_desktop

UNREACHABLE = r"Failed to fetch|error sending request|dns error|[Cc]onnect"
GPU = {"name": "A", "compute_capability": [8, 9], "memory": 1 << 30, "integrated": False}


def with_driver(root, cuda, **rest):
    return machine(root, children={"driver": {"cuda": list(cuda), "gpus": [GPU]}}, **rest)


TARGETS = [
    (python, architecture, packages)
    for python, architecture in product(("3.10", "3.12"), ("x86_64", "aarch64"))
    for packages in dict.fromkeys(row.packages for row in RELEASES)
]


def resolve(packages, python, architecture, *options):
    """uv resolves packages for Python, processor and the glibc of JetPack 6."""
    command = [find_uv(), "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate", "--no-deps"]
    command += ["--cache-dir", str(ROOT / "build" / "cache" / "uv"), "--only-binary", ":all:", "--no-python-downloads"]
    command += ["--python-version", python, "--python-platform", f"{architecture}-manylinux_2_35", *options, "-"]
    return subprocess.run(command, input="\n".join(packages), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def resolved():
    """Resolve all from uv's cache, into which the index's page of each package is fetched once: the network is slow."""
    if find_uv() is None:
        pytest.skip("uv is not installed: make test installs it into .venv/uv")
    names = sorted({re.match(r"[\w-]+", package)[0] for row in RELEASES for package in row.packages})
    if resolve(names, "3.12", "x86_64", "--offline").returncode:
        fetched = resolve(names, "3.12", "x86_64")
        if fetched.returncode and re.search(UNREACHABLE, fetched.stderr):
            pytest.skip(f"no package index is reachable: {fetched.stderr.strip().splitlines()[0]}")
        assert fetched.returncode == 0, fetched.stderr
    return {
        (python, architecture, packages): resolve(packages, python, architecture, "--offline")
        for python, architecture, packages in TARGETS
    }


@pytest.mark.slow
@pytest.mark.parametrize("row", RELEASES, ids=lambda row: ".".join(map(str, row.cuda)))
@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", ["3.10", "3.12"])
def test_the_packages_of_a_row_can_be_installed(resolved, row, architecture, python):
    done = resolved[python, architecture, row.packages]
    if architecture == "aarch64" and not row.arm:
        assert re.search(r"no\s+wheels\s+with\s+a\s+matching\s+platform", done.stderr)
        return
    assert done.returncode == 0, done.stderr
    nvrtc = re.search(r"^nvidia-cuda-nvrtc\S*==(\d+)\.(\d+)", done.stdout, re.MULTILINE)
    assert tuple(map(int, nvrtc.groups())) <= row.cuda
    bindings = re.search(r"^cuda-bindings==(\d+)", done.stdout, re.MULTILINE)
    assert int(bindings[1]) == row.cuda[0]


def test_the_rows_are_in_order():
    assert [row.cuda for row in RELEASES] == sorted({row.cuda for row in RELEASES})
    assert [int(row.driver) for row in RELEASES] == sorted({int(row.driver) for row in RELEASES})


@pytest.mark.parametrize("extra", ["rtx", "tensorrt"])
def test_the_extras_name_what_all_drivers_of_cuda_13_take(extra):
    text = re.search(rf"^{extra} = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)[1]
    for row in RELEASES:
        if row.cuda >= (13, 0):
            assert all(f'"{package} ;' in text for package in row.packages)


@pytest.mark.parametrize(
    ("cuda", "architecture", "row"),
    [
        ((11, 8), "x86_64", None),
        ((12, 0), "x86_64", (12, 0)),
        ((12, 0), "aarch64", None),
        ((12, 6), "aarch64", (12, 6)),
        ((12, 11), "x86_64", (12, 9)),
        ((13, 0), "x86_64", (13, 0)),
        ((13, 9), "aarch64", (13, 2)),
    ],
)
def test_the_row_of_a_driver(cuda, architecture, row):
    found = release_for(cuda, architecture)
    assert (found and found.cuda) == row


@pytest.mark.parametrize(
    ("l4t", "cuda"), [((35, 4, 1), None), ((36, 4, 3), (12, 6)), ((38, 2, 2), (13, 0)), ((39, 2, 0), (13, 2))]
)
def test_the_row_of_a_jetson_without_a_driver(l4t, cuda):
    found = release_of_jetson(l4t)
    assert (found and found.cuda) == cuda


@pytest.mark.parametrize("make", [agx_orin_6, agx_orin_7])
@pytest.mark.parametrize("driver", [{}, {"driver": NO_LIBCUDA}])
@pytest.mark.parametrize("dpkg", [None, "", "libnvinfer10 10.3.0.30-1+cuda12.5 installed\n"])
def test_no_advice_on_a_jetson_names_an_extra(tmp_path, monkeypatch, make, driver, dpkg):
    """What the extras install is for PCs: NVIDIA's packages on PyPI do not run on a Jetson's GPU."""
    host = but(make(tmp_path), children=driver, commands={} if dpkg is None else {"dpkg-query": Ran(0, dpkg, "")})
    monkeypatch.setattr("ssd_edge.machine.host.this_host", lambda: host)
    for package in gpu_packages._ADVICE:
        sentence = str(missing(package, "building"))
        assert "ssd-edge[" not in sentence
        assert sentence.startswith(f"building needs {package}, which is not installed: ")
        assert len(sentence) > len(f"building needs {package}, which is not installed: ") + 5
    major = {agx_orin_6: "12", agx_orin_7: "13"}[make]
    assert f"'cuda-bindings=={major}." in gpu_packages.compiler(host).command


def test_a_jetson_that_is_too_old(tmp_path):
    host = machine(tmp_path, {"/etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 1\n"})
    for advice in (gpu_packages.tensorrt, gpu_packages.compiler, gpu_packages.bindings, gpu_packages.newer_tensorrt):
        assert advice(host).advice == "flash JetPack 6.2 or later"


def test_advice_on_pcs(tmp_path):
    assert gpu_packages.tensorrt(rtx_desktop(tmp_path / "a")).command == "pip install 'ssd-edge[tensorrt]'"
    assert gpu_packages.compiler(laptop(tmp_path / "b")).command == "pip install 'ssd-edge[rtx]'"
    old = with_driver(tmp_path / "c", (12, 4))
    assert gpu_packages.tensorrt(old).command == (
        "pip install 'tensorrt-cu12>=10.3' 'cuda-bindings==12.*' 'nvidia-cuda-nvrtc-cu12==12.4.*' onnx"
    )
    assert gpu_packages.tensorrt_release(old, "10.16.1.*") == "pip install 'tensorrt-cu12==10.16.1.*'"
    older = with_driver(tmp_path / "d", (11, 8), files={"/etc/os-release": "ID=ubuntu\n"})
    assert gpu_packages.compiler(older).command == "sudo ubuntu-drivers install && sudo reboot"


def test_what_containers_lack(tmp_path):
    host = agx_orin_7(tmp_path)
    assert not [row for row in jetson.probe(host) if row.name in {"lsmod", "DLA compiler"}]
    host.path("/usr/lib/aarch64-linux-gnu/nvidia/libnvdla_compiler.so").unlink()
    rows = {row.name: row for row in jetson.probe(host)}
    assert rows["DLA compiler"].remedy.command == "sudo apt install nvidia-l4t-dla-compiler"


def test_a_container_without_lsmod(tmp_path):
    host = but(agx_orin_6(tmp_path), commands={"lsmod": NotInstalledError("lsmod is not installed")})
    rows = {row.name: row for row in jetson.probe(host)}
    assert (rows["lsmod"].state, rows["lsmod"].remedy.command) == ("problem", "sudo apt install kmod")
    assert "nvv4l2decoder gives no frame" in rows["lsmod"].value


def test_a_release_of_tensorrt_rtx_is_never_installed_on_a_jetson(tmp_path):
    pc, board = rtx_desktop(tmp_path / "pc"), agx_orin_7(tmp_path / "board")
    assert gpu_packages.tensorrt_rtx_release(pc, "1.7.1.116") == "pip install tensorrt-rtx-cu12==1.7.1.116"
    assert "--backend tensorrt" in gpu_packages.tensorrt_rtx_release(board, "1.7.1.116")
    assert "pip" not in gpu_packages.tensorrt_rtx_release(board, "1.7.1.116")
