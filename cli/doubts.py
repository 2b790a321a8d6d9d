"""Labels that a model contradicts: the part of ``ssd-edge check-data`` that needs a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ssd_edge.cli.common import printable, progress, say

if TYPE_CHECKING:
    from ssd_edge.data.dataset import Dataset
    from ssd_edge.failures.labels import Doubt


def find_doubts(model: Path, clean: Dataset, page_file: Path | None) -> list[Doubt]:
    """Run a model on a checked data set, list its doubts in the labels, and write the page if a file is given.

    Raises:
        DataError, ModelError, ...: the model knows none of the classes, or as in ``detect_all`` and ``open_model``.
    """
    from ssd_edge.data.split import require_shared_class
    from ssd_edge.data.wording import described
    from ssd_edge.engines.opening import open_model
    from ssd_edge.evaluation import detect_all
    from ssd_edge.failures.labels import CERTAIN, doubts

    with open_model(model, say) as engine, progress("looking for labels that the model contradicts") as bar:
        require_shared_class(clean.labels, clean.root, engine.spec)
        compared = clean.with_labels(engine.spec.labels)
        detections, targets = detect_all(engine.detector(), compared, bar)
    listed = doubts([sample.image for sample in compared], detections, targets, compared.labels)
    if page_file is not None:
        from ssd_edge.failures.doubts_page import doubts_page
        from ssd_edge.files import write_text_whole

        doubtful = [one for one in listed if one.certainty >= CERTAIN]
        with progress("drawing doubtful labels") as bar:
            text = doubts_page(doubtful, clean.root.name, model.name, described(clean), summary(listed), bar)
        write_text_whole(page_file, text)
    return listed


def summary(listed: list[Doubt]) -> str:
    """Say how many labels were looked at, and how many are worth a look."""
    from ssd_edge.data.wording import counted
    from ssd_edge.failures.labels import CERTAIN, KINDS_OF_DOUBT

    labels = sum(one.kind != "missing box" for one in listed)
    kinds = [one.kind for one in listed if one.certainty >= CERTAIN]
    found = ", ".join(f"{kind} {kinds.count(kind)}" for kind in KINDS_OF_DOUBT if kinds.count(kind))
    return f"{counted(labels, 'label')} compared: " + (found or "none is contradicted with certainty")


def lines(listed: list[Doubt], most: int) -> list[str]:
    """Describe the doubts that are worth a look, worst first, and say how many more there are."""
    from ssd_edge.failures.labels import CERTAIN

    certain = [one for one in listed if one.certainty >= CERTAIN]
    shown = [
        f"{one.certainty:.2f} {one.kind}: {one.image}: box ({', '.join(f'{edge:.0f}' for edge in one.box)}): "
        f"{one.sentence}"
        for one in certain[:most]
    ]
    more = [f"… and {len(certain) - most} more: add --all to list them"] if len(certain) > most else []
    return [printable(line) for line in shown + more]
