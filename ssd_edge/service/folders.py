"""The folders into which a service writes."""

from __future__ import annotations

from pathlib import Path

from ssd_edge.errors import ServiceError
from ssd_edge.service.config import OutputConfig, ServiceConfig
from ssd_edge.service.output_forms import FILES, FOLDERS


def file_written(output: OutputConfig) -> Path | None:
    """Return the file or folder that an output writes; None if it goes to stdout or over the network."""
    return Path(output.target) if output.kind in (*FILES, *FOLDERS) and output.target != "-" else None


def folders_written(config: ServiceConfig) -> list[Path]:
    """Return the folders into which a service writes, sorted: also that of its file, for its socket and journal.

    Raises:
        ServiceError: one of them does not exist.
    """
    folders = {config.path.resolve().parent}
    for camera in config.cameras:
        if config.page is not None and camera.watch_file is not None:
            folders.add(camera.watch_file.resolve().parent)  # zones drawn on the page are written there
        for output in camera.outputs:
            path = file_written(output)
            if path is None:
                continue
            folder = path if output.kind in FOLDERS else path.parent
            if not folder.is_dir():
                raise ServiceError(
                    f"{camera.name} writes {output.kind} into {folder}, which is no folder: mkdir -p {folder}"
                )
            folders.add(folder.resolve())
    return sorted(folders)
