"""Fixtures and settings shared by many tests."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import pytest

import ssd_edge  # noqa: F401 - imported before OpenVINO and ONNX Runtime to switch off their telemetry

# PyTorch's threads wait for each other by spinning: on a busy machine, two are a hundred times slower than one. It
# has to be set before torch is imported, and is inherited by the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Compiled files are kept from run to run, but apart from the user's own cache.
os.environ["XDG_CACHE_HOME"] = str(Path(__file__).resolve().parents[1] / "build" / "cache")

# A shell's background jobs ignore Ctrl-C, and so would the processes that tests start there and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keep modules and tests out of garbage collections: a million objects that stay take a third of a second each."""
    gc.freeze()


@pytest.fixture(scope="session")
def heads_onnx(tmp_path_factory) -> Path:
    """A tiny model as heads.onnx, see ``models_for_tests``; tests must not change it."""
    from tests.models_for_tests import write_tiny

    return write_tiny(tmp_path_factory.mktemp("tiny") / "heads.onnx")


@pytest.fixture(scope="session")
def bundle(heads_onnx) -> Path:
    """The tiny model as an OpenVINO bundle; tests must not change it."""
    from ssd_edge.engines.bundle.build import build_bundle

    folder = heads_onnx.with_name("tiny.engine")
    build_bundle(heads_onnx, folder, "openvino")
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """An untrained SSDLite-MobileNetV2 of two classes, as ``ssd-edge train`` writes it; tests must not change it."""
    import torch

    from ssd_edge.models.registry import make_network, make_spec
    from ssd_edge.training.checkpoints import save_checkpoint

    path = tmp_path_factory.mktemp("checkpoint") / "model.pt"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make_network(make_spec("ssdlite300_mobilenet_v2", ("bolt", "nut")))
    save_checkpoint(path, network, network.spec.with_provenance(dataset="none"))
    return path
