"""Write the results of a selftest: ``selftest.json`` and ``selftest.html``, each complete or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ssd_edge import __version__
from ssd_edge.engines.selftest.sections import Section
from ssd_edge.errors import MissingDependencyError
from ssd_edge.files import written_whole
from ssd_edge.page import render


def counts(sections: Sequence[Section]) -> dict[str, int]:
    """Count the sections that passed, failed, and were not run."""
    return {status: sum(one.status == status for one in sections) for status in ("passed", "failed", "not run")}


def write_results(sections: Sequence[Section], machine: Mapping[str, Any], folder: Path) -> None:
    """Write both files; the page only if Jinja is installed.

    Args:
        sections: results of the sections.
        machine: description of the machine, from ``summary`` and ``doctor``.
        folder: folder for the files.

    Raises:
        OSError: a file cannot be written.
    """
    content = {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "ssd_edge": __version__,
        "machine": dict(machine),
        "counts": counts(sections),
        "sections": [one.to_json() for one in sections],
    }
    texts = {"selftest.json": json.dumps(content, indent=2) + "\n"}
    with suppress(MissingDependencyError):  # a device's install need not have Jinja
        texts["selftest.html"] = page(sections, machine)
    for name, text in texts.items():
        with written_whole(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")


def page(sections: Sequence[Section], machine: Mapping[str, Any]) -> str:
    """Render the HTML page; all text from files or tools is escaped.

    Raises:
        MissingDependencyError: Jinja is not installed.
    """
    number = counts(sections)
    return render(
        "ssd_edge.engines.selftest",
        "selftest.html",
        "the page",
        {"tojson_plain": lambda value: json.dumps(value, indent=1, ensure_ascii=False)},
        sections=sections,
        machine=f"{machine.get('processor', 'an unknown processor')}, {machine.get('system', '')}",
        passed=number["passed"],
        failed=number["failed"],
        not_run=number["not run"],
    )
