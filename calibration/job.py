"""A calibration job: the heads, the images, what may be done to the heads, and how the result is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ssd_edge.calibration.network.policy import DEFAULT_POLICY, Policy
from ssd_edge.calibration.scales.find import Images
from ssd_edge.calibration.scales.state import StateFile
from ssd_edge.evaluation import Evaluation
from ssd_edge.progress import Progress, no_progress
from ssd_edge.spec import ModelSpec


@dataclass(frozen=True)
class OnThisMachine:
    """The engine of this machine for INT8 heads, measured.

    Attributes:
        ap: AP of the engine; None if it was not measured.
        fps: images/s of the FP32 engine and of the INT8 engine.
    """

    ap: Evaluation | None
    fps: tuple[float, float]


@dataclass(frozen=True)
class Measures:
    """How heads are measured: calibration runs no engine, so whoever can run one hands in these functions.

    Attributes:
        ap: computes the AP of an ONNX file exactly; None if AP is not measured.
        on_this_machine: builds engines of FP32 and INT8 heads (two files) and measures them; None if it is not wanted.
    """

    ap: Callable[[Path, Progress], Evaluation] | None = None
    on_this_machine: Callable[[Path, Path, Progress], OnThisMachine] | None = None


def _nothing(written: Path) -> None:
    """Do nothing with a file."""


@dataclass(frozen=True)
class Job:
    """Heads, calibration images, and what may be done to the heads.

    Attributes:
        heads: the FP32 ONNX file.
        images: begins a new pass over the calibration images; without images, scales have to be given.
        spec: the spec of the heads.
        policy: the choice of convolutions that stay in float in any case.
        equalisation: whether channels may be brought closer first, see ``corrections.equalise``.
        bias_correction: whether biases may make up for what quantisation adds, see ``corrections.bias``.
        learned_rounding: whether weights may be rounded as their outputs ask for, see ``corrections.rounding``; takes
            up to a minute for each twenty convolutions.
        num_images: number of images in a pass, for ``progress``; 0 if it is not known.
        least: the smallest number of images that is accepted.
        state: the file of what was observed, so that an interrupted calibration can go on; removed at the end.
        measures: how the result is measured.
        on_written: called with the INT8 file once it is written, before it is measured; stores its proof.
        progress: called with how far each stage is.
    """

    heads: Path
    images: Callable[[], Images]
    spec: ModelSpec
    policy: Policy = DEFAULT_POLICY
    equalisation: bool = True
    bias_correction: bool = True
    learned_rounding: bool = False
    num_images: int = 0
    least: int = 1
    state: StateFile | None = None
    measures: Measures = field(default_factory=Measures)
    on_written: Callable[[Path], None] = _nothing
    progress: Progress = no_progress
