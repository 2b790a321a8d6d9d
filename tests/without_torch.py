"""A plugin for pytest that skips what needs PyTorch where it is not installed: ``pytest -p tests.without_torch``.

A test that ends with the error which names the missing extra is skipped too. Whatever else cannot be imported stays
an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from ssd_edge.errors import MissingDependencyError

ABSENT = [name for name in ("torch", "pytorch_lightning", "tensorboard", "onnxscript") if find_spec(name) is None]


@contextmanager
def _skips() -> Iterator[None]:
    """Makes a missing package a skipped test."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ABSENT:
            raise
        pytest.skip(f"{error.name} is not installed")
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup():
    with _skips():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    with _skips():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """A file, or a folder's conftest, that imports one at its top."""
    report = yield
    missing = [name for name in ABSENT if f"No module named '{name}'" in str(report.longrepr)]
    if report.failed and missing:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: {missing[0]} is not installed")
    return report
