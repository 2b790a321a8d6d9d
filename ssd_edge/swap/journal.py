"""A journal of what ran when and why: one JSON object a line, on the disk before anything goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from ssd_edge.engines.bundle.manifest import MANIFEST
from ssd_edge.files import sha256, sync_folder, sync_open

Event = Literal["started", "tried", "took over", "refused", "went back", "kept", "ended"]


def identity(model: Path) -> str:
    """Return what tells a bundle from another content: the SHA-256 of its manifest; empty for what has none."""
    try:
        return sha256(model / MANIFEST)
    except OSError:
        return ""


class Journal:
    """Appends to a file and reads it; a line that a power cut left unfinished is passed over.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, event: Event, model: Path, content: str, why: str = "") -> None:
        """Add a line.

        Args:
            event: what happened.
            model: the bundle.
            content: see ``identity``.
            why: the reason, for people.

        Raises:
            OSError: it cannot be written.
        """
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        about = {"time": now, "event": event, "model": os.fspath(model), "manifest_sha256": content}
        is_new = not self.path.exists()
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                unfinished = b"" if file.read(1) == b"\n" else b"\n"
            else:
                unfinished = b""
            file.write(unfinished + json.dumps({**about, **({"why": why} if why else {})}).encode() + b"\n")
            file.flush()
            sync_open(file.fileno())
        if is_new:
            sync_folder(self.path.absolute().parent)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the lines, oldest first; none if there is no journal."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("event"), str):
                yield entry

    def unfit(self) -> dict[str, str]:
        """Return why bundles are not to be tried again, by their ``identity``.

        They were refused, had to go back, or were still on probation when the process ended without a word, as it does
        in a crash.
        """
        reasons: dict[str, str] = {}
        on_probation = ""
        for entry in self.entries():
            content, event = str(entry.get("manifest_sha256", "")), entry["event"]
            if event in ("refused", "went back"):
                reasons[content] = str(entry.get("why", "it was refused"))
            elif event in ("tried", "kept"):
                reasons.pop(content, None)
            elif event == "started" and on_probation:
                reasons[on_probation] = "the process ended while it was on probation"
            on_probation = content if event == "took over" else ""
        reasons.pop("", None)
        return reasons


def journal_of(file: Path) -> Journal:
    """Return the journal of the service of a file."""
    return Journal(file.with_name(f"{file.name}.swaps.jsonl"))
