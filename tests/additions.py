"""A tiny backend, model, method, sink and source, as docs/architecture.md says that one adds them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

import numpy as np
import numpy.typing as npt

from ssd_edge.calibration.scales.histograms import Histogram
from ssd_edge.detections import Detections
from ssd_edge.detector import Engine, RawHeads
from ssd_edge.engines.base import BuildOptions, Plan, PlanEntry
from ssd_edge.outputs.sink import Sink
from ssd_edge.progress import Progress
from ssd_edge.spec import ModelSpec
from ssd_edge.stream.frames import Frame, Source

# A backend: this module is one.

NAME = "still"
OPTIONS: frozenset[str] = frozenset()
ANY_PROCESSOR = True
CARRIED = ()


class StillEngine(Engine):
    """Heads that never see anything."""

    depth, backend, precision = 1, NAME, "FP32"

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.closed = False

    def submit(self, images: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        boxes, classes = self.spec.num_default_boxes, self.spec.num_classes
        logits = np.zeros((len(images), boxes, classes), np.float32)
        logits[..., 0] = 20  # background
        return lambda: RawHeads(np.zeros((len(images), boxes, 4), np.float32), logits)

    def close(self) -> None:
        self.closed = True


def build(onnx: Path, spec: ModelSpec, folder: Path, options: BuildOptions, progress: Progress) -> Plan:
    shutil.copyfile(onnx, folder / "still.onnx")
    progress(1, 1)
    return Plan(("still.onnx",), "1.0", "FP32")


def load(folder: Path, plan: PlanEntry, spec: ModelSpec) -> StillEngine:
    return StillEngine(spec)


def incompatibility(plan: PlanEntry) -> str | None:
    return None


# A calibration method.


def half_of_the_largest(histogram: Histogram) -> float:
    """Keep half of the largest magnitude."""
    return histogram.amax / 2


# A sink and a source.


class Counter(Sink):
    """Counts frames, and writes the number."""

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        self._frames = 0

    @classmethod
    def opened(cls, target: str, labels: Sequence[str], fps: float | None) -> Counter:
        return cls(Path(target))

    def write(self, frame: Frame, detections: Detections) -> None:
        self._frames += 1

    def close(self) -> None:
        self.path.write_text(str(self._frames))


class Grey(Source):
    """Three grey pictures."""

    name = "grey"

    def __init__(self) -> None:
        super().__init__()
        self._next = 0

    def read(self) -> Frame | None:
        if self._next == 3:
            return None
        self._next += 1
        return Frame(np.full((32, 32, 3), 128, np.uint8), self._next - 1, monotonic())
