"""A section of the selftest: what it is given, what it answers, and how all are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from ssd_edge.detector import Image
from ssd_edge.engines.base import BuildOptions, Engine
from ssd_edge.errors import SsdEdgeError
from ssd_edge.spec import ModelSpec

Status = Literal["passed", "failed", "not run"]


class NotRunError(SsdEdgeError):
    """What a section needs is not here; the words say what."""


class FailedError(SsdEdgeError):
    """A section found that something is not as it has to be.

    Args:
        sentence: what.
        details: the numbers behind it, those of what was right too.
    """

    def __init__(self, sentence: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(sentence)
        self.details = details or {}


@dataclass(frozen=True)
class Section:
    """An answer.

    Attributes:
        name: of the section.
        status: ``passed`` only where it ran and all was right.
        sentence: what was found, or what is missing.
        details: the numbers behind it.
        seconds: that it took.
    """

    name: str
    status: Status
    sentence: str
    details: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain values for ``json.dumps``."""
        return asdict(self)


@dataclass(frozen=True)
class Setting:
    """What sections work on.

    Attributes:
        heads: FP32, in ONNX; None where none was given.
        int8: the same with Q/DQ; None where none was given.
        spec: of the heads.
        frames: real pictures, BGR.
        folder: for what is made on the way.
        engine: ``engine(name, onnx, backend, options)``: builds a bundle of that name there, and opens it.
        quick: whether figures may come of few rounds.
    """

    heads: Path | None
    int8: Path | None
    spec: ModelSpec | None
    frames: Sequence[Image]
    folder: Path
    engine: Callable[[str, Path, str, BuildOptions | None], Engine]
    quick: bool = False

    def model(self) -> tuple[Path, ModelSpec]:
        """The heads and their spec.

        Raises:
            NotRunError: none were given.
        """
        if self.heads is None or self.spec is None:
            raise NotRunError("it needs a model: ssd-edge selftest HEADS.onnx")
        return self.heads, self.spec


Work = Callable[[Setting], tuple[str, Mapping[str, Any]]]
"""Does a section's work: a sentence and details. Raises NotRunError, FailedError; any other error is a failure too."""


def run_sections(
    setting: Setting, works: Mapping[str, Work], tell: Callable[[str, int, int], None], done: Callable[[Section], None]
) -> list[Section]:
    """Each in its turn; none ends the others.

    Args:
        setting: what they work on.
        works: by name.
        tell: called before each with its name, its number and how many there are.
        done: called after each.
    """
    sections = []
    for number, (name, work) in enumerate(works.items()):
        tell(name, number, len(works))
        sections.append(_run(name, work, setting))
        done(sections[-1])
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
    except Exception as error:  # a library's, or a fault of this program: the other sections are worth having
        status, sentence = "failed", f"{type(error).__name__}: {error}"
    return Section(name, status, sentence, details, perf_counter() - began)
