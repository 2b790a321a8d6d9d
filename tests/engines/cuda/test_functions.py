"""A driver that lacks a function that CUDA needs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ssd_edge.engines.cuda.driver import CudaError
from ssd_edge.engines.cuda.functions import Functions


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


def test_the_real_bindings_are_called_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cuda.bindings")
    from ssd_edge.engines.cuda import bindings

    assert isinstance(bindings.cuda, Functions)
    assert bindings.cuda.CUresult.CUDA_SUCCESS == 0
