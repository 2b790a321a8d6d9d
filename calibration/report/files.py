"""A report as two files: a page for people, and JSON of the same facts for programs."""

from __future__ import annotations

import json
from pathlib import Path

from ssd_edge.calibration.report.facts import Report
from ssd_edge.calibration.report.page import page
from ssd_edge.files import write_text_whole


def write_report(report: Report, path: Path) -> Path:
    """Write the page, and JSON of the same name beside it, each whole or not at all; returns the JSON's path.

    Raises:
        OSError: one cannot be written.
    """
    beside = path.with_suffix(".json")
    for file, text in ((beside, json.dumps(report.to_json(), indent=2) + "\n"), (path, page(report))):
        write_text_whole(file, text)
    return beside
