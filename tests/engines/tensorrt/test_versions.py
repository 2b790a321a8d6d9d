"""versions.py with the real enums and classes of TensorRT 10.16 and 11.4."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ssd_edge.engines.tensorrt.versions import check_release, hardware_compatibility
from ssd_edge.errors import BackendError
from tests.tensorrt.bindings import run_over

MAJORS = (10, 11)


@pytest.mark.parametrize("major", MAJORS)
def test_release(major: int) -> None:
    printed = run_over(major, "from ssd_edge.engines.tensorrt.versions import check_release\nprint(check_release(trt))")
    assert printed == {10: "(10, 16)", 11: "(11, 4)"}[major]


@pytest.mark.parametrize("version", ["8.6.1", "10.2.0"])
def test_an_old_release_is_refused(version: str) -> None:
    with pytest.raises(BackendError, match=rf"TensorRT {version} is too old: 10\.3 or later"):
        check_release(SimpleNamespace(__version__=version))


def test_the_oldest_release_is_taken() -> None:
    assert check_release(SimpleNamespace(__version__="10.3.0")) == (10, 3)


@pytest.mark.parametrize("major", MAJORS)
def test_strongly_typed(major: int) -> None:
    """The flag's bit differs in 11, where EXPLICIT_BATCH is gone: a fixed number would be wrong in one of them."""
    printed = run_over(
        major, "from ssd_edge.engines.tensorrt.versions import strongly_typed\nprint(strongly_typed(trt))"
    )
    assert printed == {10: "2", 11: "1"}[major]


@pytest.mark.parametrize("major", MAJORS)
def test_device_memory(major: int) -> None:
    """Read from an engine that has only the memory properties of the real class."""
    code = """
from types import SimpleNamespace
from ssd_edge.engines.tensorrt.versions import device_memory_bytes
names = [name for name in dir(trt.ICudaEngine) if name.startswith("device_memory_size")]
print(len(names), device_memory_bytes(SimpleNamespace(**dict.fromkeys(names, 7))))
"""
    assert run_over(major, code) == {10: "2 7", 11: "1 7"}[major]


@pytest.mark.parametrize("major", MAJORS)
def test_hardware_compatibility(major: int) -> None:
    code = """
from ssd_edge.engines.tensorrt.versions import LEVELS, hardware_compatibility
print(*(hardware_compatibility(trt, name).name for name in LEVELS))
"""
    assert run_over(major, code) == "AMPERE_PLUS SAME_COMPUTE_CAPABILITY"


def test_hardware_compatibility_that_is_not_there() -> None:
    old = SimpleNamespace(__version__="10.3.0", HardwareCompatibilityLevel=SimpleNamespace(AMPERE_PLUS=1))
    assert hardware_compatibility(old, "ampere-plus") == 1
    with pytest.raises(BackendError, match=r"10\.3\.0 has no hardware compatibility same-compute-capability: use amp"):
        hardware_compatibility(old, "same-compute-capability")
    with pytest.raises(BackendError, match="must be ampere-plus or same-compute-capability, but got 'all'"):
        hardware_compatibility(old, "all")


@pytest.mark.parametrize("major", MAJORS)
def test_flags_of_precision_are_gone_in_11(major: int) -> None:
    """This is why networks are strongly typed."""
    code = "print(*(hasattr(trt.BuilderFlag, name) for name in ('FP16', 'INT8')))"
    assert run_over(major, code) == {10: "True True", 11: "False False"}[major]
