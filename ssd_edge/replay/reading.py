"""Find the sections of a recording and read them, whatever is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssd_edge.errors import RecordingError
from ssd_edge.hints import command
from ssd_edge.replay.container import SUFFIX, Placed, Section
from ssd_edge.replay.schema import Head


@dataclass(frozen=True)
class Run:
    """The sections of one run of one camera, in order.

    Attributes:
        head: how it was recorded.
        sections: its sections; some may have been removed.
    """

    head: Head
    sections: Sequence[Section]

    def shots(self) -> Iterator[tuple[Section, Placed]]:
        """Go through all frames in order, each with its section.

        Raises:
            RecordingError: a file cannot be read any more.
        """
        for section in self.sections:
            for placed in section.shots():
                yield section, placed

    def faults(self) -> list[str]:
        """Say what could not be read; known once ``shots`` has come to the end."""
        return [section.fault for section in self.sections if section.fault]


@dataclass(frozen=True)
class Recording:
    """A camera's recording.

    Attributes:
        path: the folder or file.
        camera: the camera's name.
        runs: its runs, oldest first.
        unusable: what is wrong with files of which nothing can be used.
    """

    path: Path
    camera: str
    runs: Sequence[Run]
    unusable: Sequence[str]

    @property
    def head(self) -> Head:
        """How the first run was recorded."""
        return self.runs[0].head

    @property
    def labels(self) -> list[str]:
        """The class names, which are the same in all runs."""
        return self.head.labels

    def faults(self) -> list[str]:
        """Say what could not be read; known once all frames were."""
        return [*self.unusable, *(fault for run in self.runs for fault in run.faults())]


def open_recording(path: Path, camera: str | None = None) -> Recording:
    """Open what ``ssd-edge run --record`` wrote.

    Args:
        path: the folder, or one section's file.
        camera: name of the camera; None if there is but one.

    Raises:
        RecordingError: there is no recording, nothing of it can be used, it holds several cameras and none is named, or
            its runs have different classes.
    """
    if not path.exists():
        raise RecordingError(f"there is no recording {path}: ssd-edge run NAME.engine --record FOLDER makes one")
    files = [path] if path.is_file() else sorted(one for one in path.glob(f"*{SUFFIX}") if one.is_file())
    if not files:
        raise RecordingError(f"the folder {path} holds no recording, which would end with {SUFFIX}")
    sections, unusable = [], []
    for file in files:
        try:
            sections.append(Section(file))
        except RecordingError as error:
            unusable.append(str(error))
    if not sections:
        raise RecordingError(unusable[0])
    chosen = _of_camera(path, sections, camera)
    runs: dict[str, list[Section]] = {}
    for section in chosen:
        runs.setdefault(section.head.run, []).append(section)
    found = [Run(parts[0].head, sorted(parts, key=lambda one: one.head.part)) for parts in runs.values()]
    found.sort(key=lambda run: run.head.began)
    if any(run.head.labels != found[0].head.labels for run in found):
        raise RecordingError(
            f"{path} holds runs of models with different classes: give the sections of one of them, as files in a "
            "folder of their own"
        )
    return Recording(path, found[0].head.camera, found, unusable)


def _of_camera(path: Path, sections: Sequence[Section], camera: str | None) -> list[Section]:
    names = sorted({section.head.camera for section in sections})
    if camera is None and len(names) > 1:
        chosen = command("replay", path, "--camera", names[0])
        raise RecordingError(f"{path} holds the cameras {', '.join(names)}: name one, as in {chosen}")
    if camera is not None and camera not in names:
        raise RecordingError(f"{path} holds no camera {camera}, but {', '.join(names)}")
    return [section for section in sections if camera in {None, section.head.camera}]
