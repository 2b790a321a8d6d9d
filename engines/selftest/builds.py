"""Builds of the selftest: they share one timing cache, and their durations tell how long the rest may take."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from ssd_edge.detector import Engine
from ssd_edge.engines.backends import GPU_BACKENDS
from ssd_edge.engines.base import BuildOptions
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.engines.tensorrt.backend import TIMING

MOST = {"proof": 4, "decode-forms": 3, "precisions": 6, "batches": 2, "trtexec": 1, "latency": 4}
"""Most builds for a GPU in each section; those for a CPU take seconds."""


class Builds:
    """Builds bundles in a folder, and opens them.

    Args:
        folder: folder for the bundles; it also keeps the timing cache that they share, so that a kernel which one build
            has measured is not measured again by the next.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seconds: list[float] = []

    def engine(self, name: str, onnx: Path, backend: str, options: BuildOptions | None) -> Engine:
        """Build a bundle of this name, and open it; see ``Setting``."""
        bundle = self._folder / f"{name}.engine"
        began = perf_counter()
        shared = self._folder / TIMING
        if backend == "tensorrt" and shared.is_file():
            options = replace(options or BuildOptions(), timing_cache=shared)
        build_bundle(onnx, bundle, backend, options=options)
        if backend in GPU_BACKENDS:
            self._seconds.append(perf_counter() - began)
        if (bundle / TIMING).is_file():
            shutil.copyfile(bundle / TIMING, shared)
        return load_bundle(bundle)

    def time_left(self, sections: Sequence[str]) -> str:
        """Estimate the time of builds that are left, in words; empty before the first one and after the last.

        Args:
            sections: names of the sections that are left.
        """
        builds = sum(MOST.get(name, 0) for name in sections)
        if not builds or not self._seconds:
            return ""
        each = sum(self._seconds) / len(self._seconds)
        return f"up to {builds} builds left, about {max(1, round(builds * each / 60))} min at {each:.0f} s each"
