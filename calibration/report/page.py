"""The report as one HTML file, see ``ssd_edge.page``."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from ssd_edge.calibration.certainty import loss
from ssd_edge.calibration.report import charts
from ssd_edge.calibration.report.facts import Report
from ssd_edge.evaluation import Evaluation
from ssd_edge.evaluation.intervals import Change
from ssd_edge.page import render


def page(report: Report) -> str:
    """Return the report's HTML. Text from files, such as labels and names of tensors, is escaped.

    Raises:
        MissingDependencyError: Jinja is not installed.
    """
    return render(
        "ssd_edge.calibration.report",
        "report.html",
        "--report",
        {},
        r=report,
        verdict=verdict(report),
        ap=_ap_rows(report.fp32, report.int8_ap, report.engine_ap) if report.fp32 and report.int8_ap else [],
        gains=_gains(report),
        sensitivity=charts.sensitivity(report.sensitivities) if report.sensitivities else "",
        more=max(0, len(report.sensitivities) - charts.MOST_BARS),
        histograms=[(one, charts.histogram(one)) for one in report.activations],
        shown=[one for one in report.pictures if one.thumbnail],
    )


def verdict(report: Report) -> tuple[str, str]:
    """Return the sentence at the top, and its kind: ``kept``, ``fine``, ``worse`` or ``unknown``."""
    share = f"{report.num_int8} of {report.num_convolutions} convolutions in INT8"
    if report.fp32 is None or report.int8_ap is None or report.fp32.ap is None or report.int8_ap.ap is None:
        return f"AP was not measured; {share}.", "unknown"
    before, after = 100 * report.fp32.ap, 100 * report.int8_ap.ap
    change = f"AP goes from {before:.2f} to {after:.2f} points, with {share}"
    measured = report.int8_ap.change_from(report.fp32)
    change += f" ({loss(measured)})" if measured else ""
    if report.search is not None:
        certainty = report.search.certainty
        kept = f", with a confidence of {100 * certainty.after_choice:.0f} % on other images" if certainty else ""
        return f"The budget of {report.search.budget:g} points is kept{kept}: {change}.", "kept"
    return f"{change}.", "worse" if before - after > 0.5 else "fine"


def _ap_rows(fp32: Evaluation, int8: Evaluation, engine: Evaluation | None) -> list[dict[str, Any]]:
    """Return the rows of the AP table: total, by size, by class; in points, None where AP is undefined."""
    results = fp32, int8, engine
    named = {"ap": "COCO's AP, all classes", "ap50": "AP50"}
    by_size = {"ap_small": "small, below 32 × 32", "ap_medium": "medium", "ap_large": "large, above 96 × 96"}
    rows = [
        {
            "kind": kind,
            "name": name,
            **_in_points(*(getattr(one, field) if one else None for one in results)),
            "interval": _interval(int8.change_from(fp32, field)) if field in named else None,
        }
        for kind, fields in (("all", named), ("size", by_size))
        for field, name in fields.items()
    ]
    for label, of_class in enumerate(zip_longest(*(one.per_class if one else () for one in results))):
        name = next(one.label for one in of_class if one)
        interval = _interval(int8.change_from(fp32, "ap", label))
        values = _in_points(*(one.ap if one else None for one in of_class))
        rows.append({"kind": "class", "name": name, **values, "interval": interval})
    return rows


def _interval(change: Change | None) -> str:
    """Return the 95 % interval of a change in points."""
    return f"{100 * change.interval.low:+.2f} … {100 * change.interval.high:+.2f}" if change else ""


def _in_points(fp32: float | None, int8: float | None, engine: float | None) -> dict[str, float | None]:
    # Rounding and adding 0 turns "-0.00" into "0.00".
    change = None if fp32 is None or int8 is None else round(100 * (int8 - fp32), 2) + 0.0
    points = {"fp32": fp32, "int8": int8, "engine": engine}
    return {name: None if value is None else 100 * value for name, value in points.items()} | {"change": change}


def _gains(report: Report) -> list[tuple[str, float, float, bool]]:
    """Return each correction's name, the distance without and with it, and whether it was used."""
    named: dict[str, Any] = {}
    if report.corrections is not None:
        named = {name.replace("_", " "): gain for name, gain in vars(report.corrections).items()}
    elif report.search is not None:
        named = {"equalisation": report.search.equalisation, "learned rounding": report.search.rounding}
    rows = [(name, gain.without, gain.applied, gain.closer) for name, gain in named.items() if gain is not None]
    if report.search is not None:
        without, applied = report.search.distances[report.method]
        if without != applied:
            rows.insert(1, ("bias correction", without, applied, applied < without))
    return rows
