"""The errors of a model as one HTML file, see ``ssd_edge.page``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ssd_edge.data.dataset import read_image
from ssd_edge.data.images import jpeg_thumbnail
from ssd_edge.evaluation.matching import SIZES
from ssd_edge.failures import charts
from ssd_edge.failures.kinds import KINDS
from ssd_edge.failures.pictures import LEGEND, draw_failing
from ssd_edge.failures.study import Failing, Study
from ssd_edge.page import render
from ssd_edge.progress import Progress, no_progress

WORST = 24
"""Number of images on the first sheet."""
WORST_OF_CLASS = 8
"""Number of images on the sheet of each class; those of the first are not shown again."""

_LONGEST = 480


class _Figure(NamedTuple):
    name: str
    jpeg: bytes
    errors: str


def page(study: Study, model: str, measured: str, progress: Progress = no_progress) -> str:
    """Return the page's HTML; text from files, such as labels, is escaped.

    Args:
        study: the errors.
        model: name of the model.
        measured: what it was measured on, in words.
        progress: called with (done, total) after each picture.

    Raises:
        MissingDependencyError: Jinja is not installed.
        DataError: an image cannot be read any more.
    """
    worst = [one for one in study.images if one.cost][:WORST]
    of_class = {
        label: [one for one in study.images[len(worst) :] if one.cost and one.shows(number)][:WORST_OF_CLASS]
        for number, label in enumerate(study.labels)
    }
    total, done = len(worst) + sum(map(len, of_class.values())), 0

    def drawn(images: Sequence[Failing]) -> list[_Figure]:
        nonlocal done
        figures = []
        for one in images:
            figures.append(_figure(one, study.labels))
            done += 1
            progress(done, total)
        return figures

    ap50 = [value for value in study.ap50 if value is not None]
    return render(
        "ssd_edge.failures",
        "errors.html",
        "--report",
        {},
        s=study,
        model=model,
        measured=measured,
        verdict=verdict(study),
        ap50=sum(ap50) / len(ap50) if ap50 else None,
        bars=charts.bars(study.mean_lost()),
        kinds=KINDS,
        sizes=list(SIZES),
        curves=[
            (label, charts.precision_recall(curve, label, shown), shown)
            for label, curve, shown in zip(study.labels, study.curves, study.shown, strict=True)
            if curve.num_objects
        ],
        confusion=_confusion(study),
        legend=LEGEND,
        worst=drawn(worst),
        by_class=[(label, drawn(images)) for label, images in of_class.items() if images],
    )


def verdict(study: Study) -> str:
    """Say in one sentence which kind of error costs most, and in which class."""
    lost = study.mean_lost()
    worst = max(lost, key=lambda kind: lost[kind])
    if lost[worst] <= 0:
        return "No kind of error costs any AP50 here."
    by_class = {label: value for label, value in zip(study.labels, study.lost[worst], strict=True) if value is not None}
    label = max(by_class, key=lambda name: by_class[name])
    most = f"most in {label} ({100 * by_class[label]:.1f})" if len(by_class) > 1 else f"in {label}"
    return f"The costliest kind of error is {worst} ({KINDS[worst]}): {100 * lost[worst]:.1f} points of AP50, {most}."


def _figure(failing: Failing, labels: Sequence[str]) -> _Figure:
    picture = draw_failing(read_image(failing.image), failing, labels, _LONGEST)
    errors = ", ".join(f"{number} {kind}" for kind, number in failing.errors().items())
    return _Figure(failing.image.name, jpeg_thumbnail(picture, _LONGEST), errors)


def _confusion(study: Study) -> list[tuple[str, list[tuple[int | None, float, bool]]]]:
    """Rows of the table: (name, [(count, share of the row, whether this is right)])."""
    rows = []
    for number, (name, row) in enumerate(zip([*study.labels, "nothing"], study.confusion.tolist(), strict=True)):
        total = max(1, sum(row))
        cells = [(count, count / total, column == number) for column, count in enumerate(row)]
        if number == len(study.labels):
            cells[-1] = (None, 0.0, True)  # where nothing is and nothing is found is not counted
        rows.append((name, cells))
    return rows
