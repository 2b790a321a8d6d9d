"""Charts of the report: SVG that takes its colours from the page and needs no script."""

from __future__ import annotations

from html import escape
from math import log10

from ssd_edge.calibration.recipe import Sensitivity
from ssd_edge.calibration.report.facts import Activation

MOST_BARS = 25
"""Number of convolutions in the sensitivity chart; the others, which matter less, are in the JSON."""

_LONGEST = 44


def histogram(one: Activation) -> str:
    """Draw an activation's histogram: |x| to the right, the number of values upwards, on a logarithmic axis.

    A dotted line marks each method's cut, a thick line the cut that was used.
    """
    width, height, left, base = 420, 150, 40, 120
    most = max(1, *one.bars)
    decades = max(1, len(str(most)))  # a power of ten above the largest
    step = (width - left - 10) / len(one.bars)
    parts = [_svg_start(width, height, f"values of {one.tensor}")]
    for decade in range(0, decades + 1, max(1, decades // 3)):
        y = base - decade / decades * (base - 12)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 10}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick end" x="{left - 5}" y="{y + 3:.1f}">{_power(decade)}</text>')
    for number, count in enumerate(one.bars):
        if count:
            top = (log10(count) + 0.15) / (decades + 0.15) * (base - 12)  # so that a single value is visible
            x, wide = left + number * step, max(step - 1, 0.5)
            parts.append(f'<rect class="bar" x="{x:.1f}" y="{base - top:.1f}" width="{wide:.1f}" height="{top:.1f}"/>')
    reach = one.amax or 1.0
    for cut in one.cuts.values():
        parts.append(_vertical_line("other", left + min(1.0, cut / reach) * (width - left - 10), base))
    parts.append(_vertical_line("cut", left + min(1.0, one.cut / reach) * (width - left - 10), base))
    for share in (0.0, 0.5, 1.0):
        x = left + share * (width - left - 10)
        anchor = "" if share == 0 else " end" if share == 1 else " middle"
        parts.append(f'<text class="tick{anchor}" x="{x:.1f}" y="{base + 14}">{share * one.amax:.3g}</text>')
    parts.append(f'<text class="tick middle" x="{(left + width - 10) / 2:.0f}" y="{height - 3}">|x|</text></svg>')
    return "".join(parts)


def sensitivity(sensitivities: dict[str, Sensitivity]) -> str:
    """Draw a bar for each convolution, worst first: the distance from FP32 with only this one in INT8."""
    worst = sorted(sensitivities.items(), key=lambda pair: pair[1].alone, reverse=True)[:MOST_BARS]
    width, left, row = 720, 300, 18
    height = row * len(worst) + 26
    reach = max((one.alone for _, one in worst), default=0.0) or 1.0
    parts = [_svg_start(width, height, "sensitivity of convolutions")]
    for number, (name, one) in enumerate(worst):
        y = number * row
        long = one.alone / reach * (width - left - 70)
        parts.append(
            f"<g><title>{escape(name)}: {one.alone:.5f}</title>"
            f'<text class="label end" x="{left - 8}" y="{y + 13}">{escape(shortened(name))}</text>'
            f'<rect class="bar" x="{left}" y="{y + 3}" width="{long:.1f}" height="{row - 6}"/>'
            f'<text class="tick" x="{left + long + 5:.1f}" y="{y + 13}">{one.alone:.4f}</text></g>'
        )
    parts.append(
        f'<text class="tick" x="{left}" y="{height - 8}">distance from FP32, this one alone in INT8</text></svg>'
    )
    return "".join(parts)


def shortened(name: str) -> str:
    """Shorten a long name by leaving out its middle, since its ends tell most."""
    if len(name) <= _LONGEST:
        return name
    head = _LONGEST // 3
    return f"{name[:head]}…{name[-(_LONGEST - head - 1) :]}"


def _svg_start(width: int, height: int, title: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'


def _vertical_line(kind: str, x: float, base: int) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="8" y2="{base}"/>'


def _power(decade: int) -> str:
    return "1" if decade == 0 else "10" if decade == 1 else f"10<tspan dy='-3' font-size='7'>{decade}</tspan>"
