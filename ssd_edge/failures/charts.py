"""Charts of the errors page: SVG that takes its colours from the page and needs no script."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

from ssd_edge.failures.study import Curve

_SIDE, _LEFT, _TOP = 220, 34, 10
_MOST_POINTS = 200


def precision_recall(curve: Curve, label: str, shown: float) -> str:
    """Draw precision (upwards) over recall, with a dot at the score from which on detections are shown."""
    parts = [f'<svg viewBox="0 0 {_SIDE + _LEFT + 12} {_SIDE + _TOP + 34}" role="img" aria-label="{escape(label)}">']
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _place(share, share)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + _SIDE}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + _SIDE}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 4}" y="{y + 3:.1f}">{share:g}</text>')
        parts.append(f'<text class="tick middle" x="{x:.1f}" y="{_TOP + _SIDE + 13}">{share:g}</text>')
    parts.append(f'<text class="tick middle" x="{_LEFT + _SIDE / 2}" y="{_TOP + _SIDE + 28}">recall</text>')
    chosen = _thinned(len(curve.score))
    points = [_place(float(curve.recall[i]), float(curve.precision[i])) for i in chosen]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts.append(f'<polyline class="curve" points="{path}"/>')
    last = int(np.sum(curve.score >= np.float32(shown))) - 1
    if last >= 0:
        x, y = _place(float(curve.recall[last]), float(curve.precision[last]))
        words = f"from {shown:.2f} on: precision {curve.precision[last]:.2f}, recall {curve.recall[last]:.2f}"
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{words}</title></circle>')
    return "".join([*parts, "</svg>"])


def bars(lost: Mapping[str, float]) -> str:
    """Draw a bar for each kind of error: the points of AP50 that it costs."""
    width, left, row = 560, 130, 26
    reach = max([*lost.values(), 1e-9])
    parts = [f'<svg viewBox="0 0 {width} {row * len(lost) + 4}" role="img" aria-label="cost of each kind of error">']
    for number, (kind, value) in enumerate(lost.items()):
        y, long = number * row, max(0.0, value) / reach * (width - left - 60)
        parts.append(
            f'<text class="label end" x="{left - 8}" y="{y + 17}">{escape(kind)}</text>'
            f'<rect class="bar" x="{left}" y="{y + 5}" width="{long:.1f}" height="{row - 10}"/>'
            f'<text class="tick" x="{left + long + 6:.1f}" y="{y + 17}">{100 * value:.1f}</text>'
        )
    return "".join([*parts, "</svg>"])


def _place(recall: float, precision: float) -> tuple[float, float]:
    return _LEFT + recall * _SIDE, _TOP + (1 - precision) * _SIDE


def _thinned(number: int) -> list[int]:
    """Choose indices of at most about 200 of the points of a curve, with its ends."""
    if number <= _MOST_POINTS:
        return list(range(number))
    return sorted({round(one) for one in np.linspace(0, number - 1, _MOST_POINTS).tolist()})
