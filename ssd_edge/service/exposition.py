"""Write metrics in the text format of Prometheus, version 0.0.4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Sample:
    """One value.

    Attributes:
        value: the number.
        labels: what it belongs to, by the names of the labels.
        suffix: what follows the family's name: ``_bucket``, ``_sum`` or ``_count`` of a histogram.
    """

    value: float
    labels: Mapping[str, str]
    suffix: str = ""


@dataclass(frozen=True)
class Family:
    """All values of one name.

    Attributes:
        name: the name; that of a counter ends with ``_total``.
        kind: what the numbers are.
        about: one sentence.
        samples: the values.
    """

    name: str
    kind: Kind
    about: str
    samples: tuple[Sample, ...]


def histogram(counts: Iterable[tuple[float, int]], total: float, count: int, **labels: str) -> Iterator[Sample]:
    """Make the samples of a histogram.

    Args:
        counts: upper bounds, ascending, each with the number of values that do not exceed it.
        total: sum of all values.
        count: number of all values.
        labels: what it belongs to.
    """
    for bound, number in [*counts, (math.inf, count)]:
        yield Sample(number, {**labels, "le": _number(bound)}, "_bucket")
    yield Sample(total, labels, "_sum")
    yield Sample(count, labels, "_count")


def exposition(families: Iterable[Family]) -> str:
    """Write families of metrics as Prometheus reads them; one without samples is left out."""
    return "".join(f"{line}\n" for family in families if family.samples for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    about = family.about.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {family.name} {about}"
    yield f"# TYPE {family.name} {family.kind}"
    for sample in family.samples:
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels.items())
        yield f"{family.name}{sample.suffix}{labels and '{' + labels + '}'} {_number(sample.value)}"


def _escaped(value: str) -> str:
    # Names of files need not be text: what UTF-8 cannot write is spelt out.
    text = value.encode("utf-8", "backslashreplace").decode()
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else f"{value:.15g}"
