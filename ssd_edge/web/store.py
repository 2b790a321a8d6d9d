"""The file in which zones and lines that are drawn on the page are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
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
        known: what the file held of the watch when somebody read it; None for no watch. A watch file is read by
            default.
        writing: held while the file is replaced, so that who holds it finds ``part`` in the file.

    Attributes:
        part: what the file holds of the watch; None if it holds none.

    Raises:
        WatchError: it cannot be read, or holds something that cannot be watched.
    """

    def __init__(
        self,
        path: Path,
        inside: Sequence[str] = (),
        known: Mapping[str, Any] | None = None,
        writing: AbstractContextManager[object] | None = None,
    ) -> None:
        self.path, self._inside, self._writing = path, tuple(inside), writing or nullcontext()
        self.part, lines = known, None
        if known is None and not inside:
            self.part, lines = parse_settings(read_text(path, KIND, WatchError), str(path), KIND, WatchError)
        self.reader = None if self.part is None else WatchReader(path, self.part, lines)

    @property
    def name(self) -> str:
        """The file's name, without its folder."""
        return self.path.name

    def changed(self, places: Mapping[str, Sequence[Place]]) -> tuple[str, WatchReader]:
        """Return the file's text with other zones and lines, and its reader; nothing is written.

        Raises:
            WatchError: they cannot be watched, or the file is written in a way in which they cannot be replaced.
            PageError: somebody else has changed the watch.
        """
        text = read_text(self.path, KIND, WatchError)
        if self._part(text) != self.part:
            raise PageError(
                f"{self.name} was changed by someone else since it was read: start again, or reload the service, to "
                "read it"
            )
        text = with_places(text, places, self._inside)
        return text, WatchReader(Path(self.name), self._part(text) or {})

    def write(self, text: str, reader: WatchReader) -> None:
        """Replace the file, whole or not at all.

        Raises:
            PageError: it cannot be written.
        """
        with self._writing:
            try:
                # What a link names is replaced, not the link.
                write_text_whole(self.path.resolve(), text)
            except OSError as error:
                raise PageError(f"{self.name} cannot be written: {error.strerror or error}") from None
            self.part, self.reader = self._part(text), reader

    def _part(self, text: str) -> Any:
        part: Any = parse_settings(text, self.name, KIND, WatchError)[0]
        for key in self._inside:
            part = part.get(key) if isinstance(part, dict) else None
        return part


def as_yaml(content: Mapping[str, Any]) -> str:
    """Write a watch as a file of its own."""
    text = "# Zones and lines drawn on ssd-edge's page; docs/tracking.md has the form of this file.\n"
    rest = {key: value for key, value in content.items() if key not in ("zones", "lines")}
    if rest:
        text += str(yaml.safe_dump(rest, sort_keys=False, allow_unicode=True))
    return text + "".join(listed(key, content[key]) for key in ("zones", "lines") if content.get(key))
