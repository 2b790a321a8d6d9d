"""Compiling the kernels with NVRTC for every target; the reports are the compiler's own. No driver is needed."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path
from sysconfig import get_config_var

import pytest

from ssd_edge.engines.kernels import nvrtc
from ssd_edge.engines.kernels.compiler import (
    ARCHITECTURES,
    CompiledKernels,
    KernelReport,
    compile_kernels,
    read_reports,
)
from ssd_edge.engines.kernels.images import KernelImage, choose_image
from ssd_edge.engines.kernels.launch import CAPACITY, SOURCE, THREADS, decode_launches, headers_of, preprocess_launch
from ssd_edge.engines.kernels.toolchain import compiler_in
from ssd_edge.errors import BackendError, BundleCompatibilityError, MissingDependencyError
from ssd_edge.models.registry import make_spec
from ssd_edge.pixels import packed
from tests.helpers import ROOT

EVERY_KERNEL = {
    "ssd_preprocess_fp32",
    "ssd_preprocess_fp16",
    "ssd_preprocess_area_fp32",
    "ssd_preprocess_area_fp16",
    "ssd_decode_fp32",
    "ssd_decode_fp16",
    "ssd_select",
    "ssd_merge",
}
TOOLCHAIN = ROOT / ".venv" / "cuda-12.6"

try:
    import cuda.bindings.nvrtc  # noqa: F401
except ImportError:
    pytest.skip("cuda-bindings is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def jetpack_6() -> Path:
    if not TOOLCHAIN.is_dir():
        pytest.skip(f"no CUDA 12.6 in {TOOLCHAIN}: make install")
    if not (TOOLCHAIN / "cuda" / "bindings" / f"cynvrtc{get_config_var('EXT_SUFFIX')}").is_file():
        pytest.skip(f"CUDA 12.6 in {TOOLCHAIN} is for another Python")
    return TOOLCHAIN


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """An empty cache, not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "ssd-edge" / "kernels"


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache of one test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ssd-edge" / "kernels"


@pytest.fixture
def small(tmp_path) -> Path:
    source = tmp_path / "small.cu"
    source.write_text('extern "C" __global__ void twice(float *x) { x[threadIdx.x] *= 2.0f; }\n')
    return source


def check_images(compiled: CompiledKernels, architecture: str, cuda: tuple[int, int], ptx_version: str) -> None:
    cubin = compiled.images[KernelImage(architecture, cuda, "cubin")]
    ptx = compiled.images[KernelImage(architecture, cuda, "ptx")]
    assert len(compiled.images) == 2
    assert cubin[:4] == b"\x7fELF"
    assert struct.unpack_from("<H", cubin, 18) == (190,)  # e_machine: EM_CUDA of <elf.h>
    assert ptx.endswith(b"\n\0")
    assert ptx.count(b"\0") == 1
    text = ptx.decode().rstrip("\0")
    assert re.search(r"^\.version (\S+)$", text, re.MULTILINE)[1] == ptx_version
    assert re.search(r"^\.target (\S+)$", text, re.MULTILINE)[1] == architecture
    assert set(re.findall(r"\.entry (\w+)\(", text)) == EVERY_KERNEL
    assert {name for name in EVERY_KERNEL if name.encode() in cubin} == EVERY_KERNEL
    # Needed to match the CPU's arithmetic: every operation rounded on its own, no approximate division.
    assert "fma." not in text
    assert not re.search(r"\b(div|sqrt|ex2|rcp)\.(full|approx)", text)
    assert ".ftz" not in text
    assert ".f64" not in text  # of which most GPUs have few units


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(architecture):
    compiled = compile_kernels(architecture)
    check_images(compiled, architecture, (13, 0), "9.0")
    assert {report.name for report in compiled.reports} == EVERY_KERNEL
    for report in compiled.reports:
        assert 8 <= report.registers <= 255
        assert report.shared < 48 * 1024


@pytest.mark.slow
def test_jetpack_6(jetpack_6):
    compiled = compile_kernels("sm_87", jetpack_6)
    check_images(compiled, "sm_87", (12, 6), "8.5")


@pytest.mark.slow
def test_orin_by_the_compilers_own_report(jetpack_6):
    """The goal of the design: under 48 KiB of shared memory, which needs no opt-in, and no spills."""
    for toolchain in (None, jetpack_6):
        reports = compile_kernels("sm_87", toolchain).reports
        assert {report.name for report in reports} == EVERY_KERNEL
        for report in reports:
            assert report.shared < 48 * 1024, report
            assert (report.stack, report.spills) == (0, 0), report
        by_name = {report.name: report for report in reports}
        assert by_name["ssd_select"].shared > CAPACITY * 24  # a key and a box each: the report is of these kernels


@pytest.mark.slow
def test_a_report_of_spills_is_read_as_such(tmp_path, own_cache):
    """A kernel with more live values than a thread's 255 registers makes the compiler spill, and report it."""
    source = tmp_path / "greedy.cu"
    loads = "".join(f"float a{i} = x[{i} * n + threadIdx.x];\n" for i in range(300))
    stores = "".join(f"x[{i} * n + threadIdx.x] = a{299 - i} + a{(i * 7) % 300};\n" for i in range(300))
    source.write_text(
        f'extern "C" __global__ void greedy(float *x, int n) {{\n{loads}__syncthreads();\n{stores}}}\n'
        'extern "C" __global__ void modest(float *x) { __shared__ float s[100];\n'
        "s[threadIdx.x] = x[threadIdx.x]; __syncthreads(); x[threadIdx.x] = s[99 - threadIdx.x]; }\n"
    )
    greedy, modest = compile_kernels("sm_87", source=source).reports
    assert greedy.name == "greedy"
    assert greedy.spills > 0
    assert greedy.stack > 0
    assert modest == KernelReport("modest", modest.registers, shared=400, stack=0, spills=0)


def test_the_launch_plan_and_the_compiled_kernels_agree():
    """Blocks have the size that a kernel was compiled for, and pointers and int32 parameters are in the same order."""
    compiled = compile_kernels("sm_87")
    ptx = compiled.images[KernelImage("sm_87", (13, 0), "ptx")].decode()
    spec = make_spec("ssd300_vgg16", ["one", "two"])
    for half in (False, True):
        for launch in (preprocess_launch(spec, packed("NV12", (480, 640)), half), *decode_launches(spec, 2, half)):
            entry = re.search(rf"\.entry {launch.kernel}\((.*?)\)\s*\.maxntid (\d+)", ptx, re.DOTALL)
            assert launch.block == (int(entry[2]), 1, 1) == (THREADS, 1, 1)
            kinds = re.findall(r"\.param \.(u64|u32)", entry[1])
            assert kinds == ["u64" if isinstance(argument, str) else "u32" for argument in launch.arguments]


# ---- images and devices


ALL = [KernelImage(a, (13, 0), k) for a in ARCHITECTURES for k in ("cubin", "ptx")]
FOR_JETPACK_6 = [KernelImage("sm_87", (12, 6), k) for k in ("cubin", "ptx")]


@pytest.mark.parametrize(
    ("images", "device", "driver", "chosen"),
    [
        (ALL, (8, 7), (13, 0), KernelImage("sm_87", (13, 0), "cubin")),
        (ALL, (8, 6), (13, 1), KernelImage("sm_86", (13, 0), "cubin")),
        (ALL, (12, 0), (13, 0), KernelImage("sm_120", (13, 0), "cubin")),
        # none of its own: PTX, the nearest below
        (ALL, (12, 1), (13, 0), KernelImage("sm_120", (13, 0), "ptx")),
        (ALL, (10, 0), (13, 0), KernelImage("sm_90", (13, 0), "ptx")),
        (ALL, (8, 8), (14, 0), KernelImage("sm_87", (13, 0), "ptx")),
        # drivers that know CUDA 12.6 at most
        (ALL + FOR_JETPACK_6, (8, 7), (12, 6), KernelImage("sm_87", (12, 6), "cubin")),
        (ALL + FOR_JETPACK_6, (8, 9), (12, 8), KernelImage("sm_87", (12, 6), "ptx")),
        (ALL + FOR_JETPACK_6, (8, 7), (13, 0), KernelImage("sm_87", (13, 0), "cubin")),
        # a cubin needs the major release only, PTX the minor one too
        (FOR_JETPACK_6, (8, 7), (12, 2), KernelImage("sm_87", (12, 6), "cubin")),
    ],
)
def test_the_image_of_a_device(images, device, driver, chosen):
    assert choose_image(images, device, driver) == chosen
    assert choose_image(images[::-1], device, driver) == chosen


def older_driver(device: str, compiled_by: str, driver: str) -> str:
    return (
        f"the kernels for compute capability {device} were compiled by CUDA {compiled_by}, and this driver knows no "
        f"release after {driver}: install a newer driver, or compile them by CUDA {driver}"
    )


@pytest.mark.parametrize(
    ("images", "device", "driver", "sentence"),
    [
        (
            ALL,
            (8, 7),
            (12, 6),
            older_driver("8.7", "13.0", "12.6"),
        ),
        (
            FOR_JETPACK_6,
            (8, 9),
            (12, 2),
            older_driver("8.9", "12.6", "12.2"),
        ),
        (
            ALL,
            (6, 1),
            (13, 0),
            f"no kernels for compute capability 6.1 or below: there are {', '.join(ARCHITECTURES)}",
        ),
        (ALL[:1], (8, 0), (13, 0), "no kernels for compute capability 8.0 or below: there are sm_75"),
        ([], (8, 0), (13, 0), "no kernels for compute capability 8.0 or below: there are none"),
    ],
)
def test_no_image_for_a_device(images, device, driver, sentence):
    with pytest.raises(BundleCompatibilityError, match=f"^{re.escape(sentence)}$"):
        choose_image(images, device, driver)


@pytest.mark.parametrize("image", [*ALL, *FOR_JETPACK_6])
def test_a_files_name_says_what_it_is(image):
    assert KernelImage.of_file(image.file_name) == image


@pytest.mark.parametrize(
    "name", ["plan.trt", "kernels.cu", "kernels.sm_87.cuda12.6.txt", "kernels.sm_90a.cuda13.0.ptx"]
)
def test_another_file(name):
    assert KernelImage.of_file(name) is None


def test_compute_capabilities():
    capabilities = [KernelImage(architecture, (13, 0), "ptx").compute_capability for architecture in ARCHITECTURES]
    assert capabilities == [(7, 5), (8, 0), (8, 6), (8, 7), (8, 9), (9, 0), (11, 0), (12, 0)]


# ---- the cache


@pytest.fixture
def calls(monkeypatch):
    """Record the requests to the compiler in this process."""
    asked = []
    original = nvrtc.answer

    def answer(request):
        asked.append(request)
        return original(request)

    monkeypatch.setattr(nvrtc, "answer", answer)
    return asked


def compiled_times(calls) -> int:
    return sum(bool(request) for request in calls)


def test_the_same_is_compiled_once(small, own_cache, calls):
    first = compile_kernels("sm_87", source=small)
    assert compile_kernels("sm_87", source=small) == first
    assert compiled_times(calls) == 1
    assert len(list(own_cache.iterdir())) == 1


def test_another_architecture_or_source_is_compiled(small, own_cache, calls, tmp_path):
    compile_kernels("sm_87", source=small)
    compile_kernels("sm_86", source=small)
    small.write_text(small.read_text().replace("2.0f", "3.0f"))
    compile_kernels("sm_87", source=small)
    assert compiled_times(calls) == 3
    assert len(list(own_cache.iterdir())) == 3


def test_another_release_is_compiled(small, own_cache, jetpack_6):
    new, old = compile_kernels("sm_87", source=small), compile_kernels("sm_87", jetpack_6, small)
    assert {image.cuda for image in new.images} == {(13, 0)}
    assert {image.cuda for image in old.images} == {(12, 6)}
    assert len(list(own_cache.iterdir())) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-10],
        lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
        lambda content: b"\xff" + content,
        lambda content: content.replace(b"\n", b"", 1),
        lambda content: b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n",  # of nothing
    ],
    ids=["empty", "cut", "a bit", "no text", "one line", "nothing, with its checksum"],
)
def test_a_damaged_entry_is_compiled_anew(small, own_cache, calls, damage):
    first = compile_kernels("sm_87", source=small)
    (entry,) = own_cache.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    for _ in range(2):  # the second time from the cache again
        assert compile_kernels("sm_87", source=small) == first
    assert compiled_times(calls) == 2


def test_a_cache_that_cannot_be_written(small, tmp_path, monkeypatch, calls):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compile_kernels("sm_87", source=small) == compile_kernels("sm_87", source=small)
    assert compiled_times(calls) == 2


# ---- what goes wrong


def test_an_unknown_architecture():
    with pytest.raises(BackendError, match=r"^NVRTC 13\.0 does not know sm_42; it knows sm_75, .*sm_87.*, sm_121$"):
        compile_kernels("sm_42")


def test_thor_and_blackwell_are_unknown_to_cuda_12_6(jetpack_6):
    for architecture in ("sm_110", "sm_120"):
        with pytest.raises(BackendError, match=rf"^NVRTC 12\.6 does not know {architecture}; it knows .*sm_87"):
            compile_kernels(architecture, jetpack_6)


@pytest.mark.parametrize("use_toolchain", [False, True])
def test_a_source_that_is_refused(tmp_path, own_cache, use_toolchain, request):
    toolchain = request.getfixturevalue("jetpack_6") if use_toolchain else None
    source = tmp_path / "wrong.cu"
    source.write_text('extern "C" __global__ void wrong(float *x) {\n  y[0] = 1;\n}\n')
    release = "12.6" if use_toolchain else "13.0"
    sentence = f'NVRTC {release} refused wrong.cu: wrong.cu(2): error: identifier "y" is undefined'
    with pytest.raises(BackendError, match=f"^{re.escape(sentence)}$"):
        compile_kernels("sm_87", toolchain, source)
    assert not own_cache.exists()


@pytest.fixture
def nothing_known():
    """Forget the compilers that were looked up before."""
    compiler_in.cache_clear()
    yield
    compiler_in.cache_clear()


@pytest.mark.usefixtures("nothing_known")
def test_no_cuda_bindings(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    sentence = "compiling CUDA kernels needs NVRTC, which is not installed: pip install 'ssd-edge[rtx]'"
    with pytest.raises(MissingDependencyError, match=f"^{re.escape(sentence)}$"):
        compile_kernels("sm_87", source=small)


@pytest.mark.usefixtures("nothing_known")
def test_bindings_that_find_no_library(small, monkeypatch):
    import cuda.bindings.nvrtc

    def fail():
        raise RuntimeError("Failed to dlopen libnvrtc.so.13\nand more")

    monkeypatch.setattr(cuda.bindings.nvrtc, "nvrtcVersion", fail)
    with pytest.raises(MissingDependencyError, match="needs NVRTC"):
        compile_kernels("sm_87", source=small)
    assert nvrtc.answer({}) == {"missing": "Failed to dlopen libnvrtc.so.13"}


def test_a_folder_without_a_toolchain(small, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, reason in (("nowhere", "there is no such folder"), ("empty", "cuda-bindings is not in it")):
        with pytest.raises(BackendError) as caught:
            compile_kernels("sm_87", tmp_path / folder, small)
        sentence = str(caught.value)
        assert sentence.startswith(f"{tmp_path / folder} holds no CUDA toolchain ({reason})")
        assert sentence.endswith(
            f"pip install --no-deps --target {tmp_path / folder} cuda-bindings==12.8.0 nvidia-cuda-nvrtc-cu12==12.6.85"
        )


@pytest.mark.parametrize(
    "log", ["", "ptxas info : nothing of use", "Compiling entry function 'a' for 'sm_87'\nUsed no"]
)
def test_a_log_without_reports(log):
    with pytest.raises(BackendError, match="report"):
        read_reports(log)


def test_no_driver_is_loaded():
    """NVRTC compiles without libcuda; this test would show if one were opened."""
    program = (
        "from ssd_edge.engines.kernels.compiler import compile_kernels\n"
        "compile_kernels('sm_87')\n"
        "maps = open('/proc/self/maps').read()\n"
        "assert 'libnvrtc.so' in maps and 'libcuda.so' not in maps\n"
    )
    if not Path("/proc/self/maps").exists():
        pytest.skip("no /proc here")
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_source_includes_its_own_files_alone():
    """A device with no CUDA toolkit has no headers."""
    own = [header.name for header in headers_of()]
    includes = {name for file in (SOURCE, *headers_of()) for name in re.findall(r"#include (.*)", file.read_text())}
    assert includes == {f'"{name}"' for name in (*own, "cuda_on_cpu.h")}


def test_another_header_is_compiled(small, own_cache, calls):
    (small.parent / "factor.cuh").write_text("#define FACTOR 2.0f")
    small.write_text('#include "factor.cuh"\n' + small.read_text().replace("2.0f", "FACTOR"))
    first = compile_kernels("sm_87", source=small)
    (small.parent / "factor.cuh").write_text("#define FACTOR 3.0f")
    assert compile_kernels("sm_87", source=small) != first
    assert compiled_times(calls) == 2
