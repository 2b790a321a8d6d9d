"""The file in which zones and lines that are drawn on the page are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ssd_edge.errors import PageError, WatchError
from ssd_edge.files import write_text_whole
from ssd_edge.tracking.watch_edit import Place, listed, with_places
from ssd_edge.tracking.watch_file import KIND, WatchReader
from ssd_edge.yaml_files import parse_settings, read_text


class WatchStore:
    """A watch file, or the part of another YAML file that is one camera's watch.

    Args:
        path: the file.
        inside: keys that lead to the watch in it, such as ``cameras``, ``door``, ``watch``.

    Raises:
        WatchError: it cannot be read, or holds something that cannot be watched.
    """

    def __init__(self, path: Path, inside: Sequence[str] = ()) -> None:
        self.path, self._inside = path, tuple(inside)
        self._text = read_text(path, KIND, WatchError)
        self.reader = self._parsed(self._text, str(path))

    @property
    def name(self) -> str:
        """The file's name, without its folder."""
        return self.path.name

    @property
    def content(self) -> Mapping[str, Any]:
        """What the file holds of the watch."""
        return self.reader.content

    def changed(self, places: Mapping[str, Sequence[Place]]) -> tuple[str, WatchReader]:
        """Return the file's text with other zones and lines, and its reader; nothing is written.

        Raises:
            WatchError: they cannot be watched, or the file is written in a way in which they cannot be replaced.
            PageError: somebody else has changed the file.
        """
        if read_text(self.path, KIND, WatchError) != self._text:
            raise PageError(f"{self.name} was changed by someone else since it was read: start again to read it")
        text = with_places(self._text, places, self._inside)
        return text, self._parsed(text, self.name)

    def write(self, text: str, reader: WatchReader) -> None:
        """Replace the file, whole or not at all.

        Raises:
            PageError: it cannot be written.
        """
        try:
            # What a link names is replaced, not the link.
            write_text_whole(self.path.resolve(), text)
        except OSError as error:
            raise PageError(f"{self.name} cannot be written: {error.strerror or error}") from None
        self._text, self.reader = text, reader

    def _parsed(self, text: str, source: str) -> WatchReader:
        content, lines = parse_settings(text, source, KIND, WatchError)
        if not self._inside:
            return WatchReader(Path(source), content, lines)
        for key in self._inside:
            content = content.get(key, {}) if isinstance(content, dict) else {}
        return WatchReader(Path(source), content)


def as_yaml(content: Mapping[str, Any]) -> str:
    """Write a watch as a file of its own."""
    text = "# Zones and lines drawn on ssd-edge's page; docs/tracking.md has the form of this file.\n"
    rest = {key: value for key, value in content.items() if key not in ("zones", "lines")}
    if rest:
        text += str(yaml.safe_dump(rest, sort_keys=False, allow_unicode=True))
    return text + "".join(listed(key, content[key]) for key in ("zones", "lines") if content.get(key))
