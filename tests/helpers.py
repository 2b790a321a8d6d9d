"""Helpers shared by several tests: a tiny model's spec, and the place of the real data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssd_edge.choices import Choice
from ssd_edge.engines.base import PlanEntry
from ssd_edge.engines.cpu.weight_bits import bits_to_try
from ssd_edge.machine.host import this_host
from ssd_edge.spec import DefaultBoxLevel, ModelSpec

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

COMPILER = os.environ.get("CXX", "g++")
"""Compiler for C++, and for C with ``-x c``."""


def shared(path: str) -> Path:
    """Return the path of a file of the real data; skip the test if it is absent."""
    file = SHARED / path
    if not file.exists():
        pytest.skip(f"real data is absent: {file}")
    return file


def for_this_processor(int8: Path) -> Path:
    """Return INT8 heads with as many weight bits as build-engine uses here: the file itself, or a new one beside it."""
    if bits_to_try(this_host())[0] == 8:
        return int8
    import onnx

    from ssd_edge.graph.seven_bits import with_seven_bits

    model, path = onnx.load(int8), int8.with_suffix(".seven.onnx")
    with_seven_bits(model)
    onnx.save(model, path)
    return path


class Chosen(Choice):
    """An entry of a dict of choices that a test adds: ``make`` gives what is found there."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__("for tests", "")
        self.__dict__["make"] = make

    def load(self) -> Any:
        return self.__dict__["make"]()


def silent(done: int, total: int, stage: str = "") -> None:
    """Ignore progress."""


def sentence(error: pytest.ExceptionInfo[Any]) -> str:
    """Return an error's text, and check that it is one line without a path in NVIDIA's source."""
    text = str(error.value)
    assert text
    assert "\n" not in text
    assert "/_src/" not in text
    return text


def small_spec(**changes: Any) -> ModelSpec:
    """Make a spec of 4·4·3 + 2·2·2 = 56 default boxes and two classes."""
    fields: dict[str, Any] = {
        "architecture": "test",
        "input_size": (32, 32),
        "labels": ("bolt", "nut"),
        "levels": (
            DefaultBoxLevel((4, 4), (0.25, 0.25), ((0.2, 0.2), (0.3, 0.15), (0.15, 0.3))),
            DefaultBoxLevel((2, 2), (0.5, 0.5), ((0.5, 0.5), (0.8, 0.6))),
        ),
    }
    return ModelSpec(**{**fields, **changes})


def plan_entry(**changes: Any) -> PlanEntry:
    """Make a plan's entry in a manifest."""
    fields: dict[str, Any] = {
        "backend": "openvino",
        "version": "1.0",
        "precision": "FP32",
        "machine": "",
        "files": ("heads.xml",),
        "onnx": "heads.onnx",
        "onnx_sha256": "0" * 64,
        "provenance": {},
        "facts": {},
    }
    return PlanEntry(**{**fields, **changes})
