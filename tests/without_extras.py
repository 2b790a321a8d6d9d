"""A plugin for pytest that skips what needs a package of an extra that is not installed, as ``tests.without_torch``."""

from importlib.util import find_spec

from tests import without_torch
from tests.without_torch import pytest_make_collect_report, pytest_runtest_call, pytest_runtest_setup

__all__ = ["pytest_make_collect_report", "pytest_runtest_call", "pytest_runtest_setup"]

OF_EXTRAS = ("importlinter", "mypy", "onnxruntime_extensions", "tensorrt", "starlette", "tensorrt_rtx", "uvicorn")
"""The packages that the extras bring, beside those of PyTorch."""

without_torch.ABSENT += [name for name in OF_EXTRAS if find_spec(name) is None]
