"""Sections of the selftest: their input, their result, and the loop that runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from ssd_edge.detector import Engine
from ssd_edge.engines.base import BuildOptions
from ssd_edge.errors import SsdEdgeError
from ssd_edge.pixels import Image
from ssd_edge.progress import Progress
from ssd_edge.spec import ModelSpec

Status = Literal["passed", "failed", "not run"]


class NotRunError(SsdEdgeError):
    """Something that a section needs is missing; the message says what."""


class FailedError(SsdEdgeError):
    """A section found a fault.

    Args:
        sentence: the fault.
        details: the numbers behind it, including those of the parts that passed.
    """

    def __init__(self, sentence: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(sentence)
        self.details = details or {}


@dataclass(frozen=True)
class Section:
    """Result of a section.

    Attributes:
        name: the section's name.
        status: the outcome; ``passed`` only if the section ran and everything was right.
        sentence: the result in words, or what is missing.
        details: the numbers behind it.
        seconds: the time it took.
    """

    name: str
    status: Status
    sentence: str
    details: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return asdict(self)


@dataclass(frozen=True)
class Setting:
    """Input of the sections.

    Attributes:
        heads: FP32 heads in ONNX; None if none were given.
        int8: the same heads with Q/DQ; None if none were given.
        spec: spec of the heads.
        frames: real pictures, BGR.
        folder: folder for temporary files.
        engine: ``engine(name, onnx, backend, options)`` builds a bundle of that name in the folder, and opens it.
        quick: whether to measure with few rounds.
    """

    heads: Path | None
    int8: Path | None
    spec: ModelSpec | None
    frames: Sequence[Image]
    folder: Path
    engine: Callable[[str, Path, str, BuildOptions | None], Engine]
    quick: bool = False

    def model(self) -> tuple[Path, ModelSpec]:
        """Return the heads and their spec.

        Raises:
            NotRunError: no heads were given.
        """
        if self.heads is None or self.spec is None:
            raise NotRunError("it needs a model: ssd-edge selftest HEADS.onnx")
        return self.heads, self.spec


Work = Callable[[Setting], tuple[str, Mapping[str, Any]]]
"""Function of a section: returns a sentence and details, or raises NotRunError or FailedError. Any other error is a
failure too."""


def run_sections(
    setting: Setting, works: Mapping[str, Work], progress: Progress, keep: Callable[[Section], None]
) -> list[Section]:
    """Run sections one after the other; a failure does not stop the rest.

    Args:
        setting: input of the sections.
        works: functions of the sections by name.
        progress: called before each section.
        keep: called after each section with its result.
    """
    sections = []
    for number, (name, work) in enumerate(works.items()):
        progress(number, len(works), name)
        sections.append(_run(name, work, setting))
        keep(sections[-1])
    return sections


def _run(name: str, work: Work, setting: Setting) -> Section:
    began = perf_counter()
    status: Status = "passed"
    details: Mapping[str, Any] = {}
    try:
        sentence, details = work(setting)
    except NotRunError as error:
        status, sentence = "not run", str(error)
    except FailedError as error:
        status, sentence, details = "failed", str(error), error.details
    except SsdEdgeError as error:
        status, sentence = "failed", str(error)
    except Exception as error:  # from a library, or a bug here: the other sections still run
        status, sentence = "failed", f"{type(error).__name__}: {error}"
    return Section(name, status, sentence, details, perf_counter() - began)
