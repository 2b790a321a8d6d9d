"""Fixtures of many tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def heads_onnx(tmp_path_factory) -> Path:
    """A tiny model as heads.onnx, see ``models_for_tests``; nobody writes to it."""
    from tests.models_for_tests import write_tiny

    return write_tiny(tmp_path_factory.mktemp("tiny") / "heads.onnx")


@pytest.fixture(scope="session")
def bundle(heads_onnx) -> Path:
    """The tiny model as an OpenVINO bundle; nobody writes to it."""
    from ssd_edge.engines.bundle import build_bundle

    folder = heads_onnx.with_name("tiny.engine")
    build_bundle(heads_onnx, folder, "openvino")
    return folder
