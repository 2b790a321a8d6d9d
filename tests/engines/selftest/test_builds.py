"""Builds of the selftest share a timing cache, and tell how long the rest may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssd_edge.engines.base import BuildOptions
from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.engines.selftest import builds
from ssd_edge.engines.selftest.builds import MOST, Builds
from tests.engines.tensorrt.test_backend import device  # noqa: F401


@pytest.mark.slow
def test_the_next_build_takes_the_cache_of_the_one_before(
    device: None,  # noqa: F811
    heads_onnx: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(builds, "load_bundle", lambda bundle: bundle)
    made = Builds(tmp_path)
    options = BuildOptions(decode="host-launch")
    bundles = [made.engine(name, heads_onnx, "tensorrt", options) for name in ("first", "second")]
    timings = [read_manifest(bundle).plans[0].facts["timing"] for bundle in bundles]  # type: ignore[arg-type]
    assert timings == ["measured", "taken from the bundle's cache"]
    made.engine("third", heads_onnx, "onnxruntime", None)
    assert made.time_left(["proof"]).startswith("up to 4 builds left, about 1 min at ")


@pytest.mark.parametrize(
    ("seconds", "sections", "words"),
    [
        ([], ["precisions"], ""),
        ([90.0], ["cpu", "kernels"], ""),
        ([60.0, 120.0], ["precisions", "cpu", "latency"], "up to 10 builds left, about 15 min at 90 s each"),
    ],
)
def test_time_left(seconds: list[float], sections: list[str], words: str, tmp_path: Path) -> None:
    made = Builds(tmp_path)
    made._seconds = seconds
    assert made.time_left(sections) == words


def test_sections_are_those_of_the_command() -> None:
    from ssd_edge.cli.selftest import _works

    assert MOST.keys() <= _works([]).keys()
