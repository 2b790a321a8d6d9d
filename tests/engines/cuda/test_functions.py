"""A driver that lacks a function that CUDA needs."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssd_edge.engines.cuda.device import open_driver
from ssd_edge.engines.cuda.driver import CudaError
from ssd_edge.engines.cuda.functions import Functions
from tests.cuda.emulated import Emulated
from tests.cuda.fixtures import said_in_a_process_of_its_own, use_pycuda


def fails(message: str):
    def function(*arguments: int) -> None:
        raise RuntimeError(message)

    return function


def test_a_missing_function_is_one_sentence() -> None:
    functions = Functions(SimpleNamespace(cuMemGetInfo=fails('Function "cuMemGetInfo_v2" not found')))
    with pytest.raises(CudaError, match=r"driver has no function cuMemGetInfo, .*install the driver again") as error:
        functions.cuMemGetInfo()
    assert error.value.name == "CUDA_ERROR_NOT_FOUND"


def test_other_errors_and_answers_pass_through() -> None:
    functions = Functions(SimpleNamespace(cuA=fails("something else"), cuB=lambda one, two: (one, two), CUresult=int))
    with pytest.raises(RuntimeError, match="something else"):
        functions.cuA(1)
    assert functions.cuB(1, 2) == (1, 2)
    assert functions.CUresult is int


def test_a_missing_function_of_those_that_pycuda_lacks(emulated: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """pycuda links with the others; these are looked up when they are called."""
    use_pycuda()
    driver = open_driver("pycuda")
    monkeypatch.setattr(driver, "_library", ctypes.CDLL(None))
    with pytest.raises(CudaError, match=r"driver has no function cuCtxGetCurrent, .*install the driver again") as error:
        driver.current_context()
    assert error.value.name == "CUDA_ERROR_NOT_FOUND"


def test_texts_of_errors_that_the_driver_does_not_have(emulated: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    use_pycuda()
    from ssd_edge.engines.cuda import pycuda_errors

    monkeypatch.setattr(pycuda_errors, "library", lambda: ctypes.CDLL(None))
    with pytest.raises(CudaError, match="driver has no function cuGetErrorName, "):
        pycuda_errors.errors.__wrapped__()


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_driver_that_pycuda_cannot_link_with(tmp_path: Path) -> None:
    """Runs in a process whose libcuda is whole but for its functions."""
    use_pycuda()
    library = ["cc", "-shared", "-Wl,-soname,libcuda.so.1", "-x", "c", "-", "-o", str(tmp_path / "libcuda.so.1")]
    subprocess.run(library, input=b"int cuInit(unsigned flags) { return 0; }", check=True)
    done = said_in_a_process_of_its_own("pycuda", LD_LIBRARY_PATH=str(tmp_path))
    assert re.match(
        r"NVIDIA's driver has no function cu\w+, though CUDA needs it: install the driver again", done.stdout
    )
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_the_real_bindings_are_called_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cuda.bindings")
    from ssd_edge.engines.cuda import bindings

    assert isinstance(bindings.cuda, Functions)
    assert bindings.cuda.CUresult.CUDA_SUCCESS == 0
