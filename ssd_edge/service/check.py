"""Check a service against the machine without starting it: model, cameras, outputs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ssd_edge.engines.opening import open_model
from ssd_edge.errors import ServiceError, SsdEdgeError
from ssd_edge.service.cameras import lowest_of
from ssd_edge.service.config import CameraConfig, OutputConfig, PageConfig, ServiceConfig
from ssd_edge.service.folders import file_written
from ssd_edge.service.live_page import token_of
from ssd_edge.service.output_forms import FOLDERS
from ssd_edge.spec import ModelSpec
from ssd_edge.stream.sources import check_source
from ssd_edge.swap.journal import journal_of
from ssd_edge.swap.versions import start_model
from ssd_edge.web.page import check_page

_PORTS = {"mqtt": 1883, "mqtts": 8883, "http": 80, "https": 443}
_PATIENCE = 3.0


def problems(config: ServiceConfig) -> Iterator[str]:
    """Yield a sentence for each thing that would keep a service from starting, without starting anything of it.

    The model is opened and closed again; brokers and servers are only connected to.
    """
    for camera in config.cameras:
        yield from problems_of_camera(camera)
        yield from _problems_of_collection(camera, config.model)
    if config.page is not None:
        yield from _problems_of_page(config.page)
    try:
        with open_model(start_model(config.model, journal_of(config.path))) as engine:
            yield from _problems_of_watches(config, engine.spec)
    except SsdEdgeError as error:
        yield str(error)


def problems_of_camera(camera: CameraConfig) -> Iterator[str]:
    """Yield what is wrong with a camera's source and outputs; nothing is opened."""
    try:
        check_source(camera.source, camera.mode, camera.capture)
    except SsdEdgeError as error:
        yield f"{camera.name}: {error}"
    for output in camera.outputs:
        problem = _problem_of_output(output)
        if problem:
            yield f"{camera.name}, output {output.kind}: {problem}"


def refuse_problems(cameras: Iterable[CameraConfig]) -> None:
    """Raise a ``ServiceError`` with the first thing that is wrong with any camera's source or outputs."""
    for camera in cameras:
        for problem in problems_of_camera(camera):
            raise ServiceError(problem)


def _problems_of_watches(config: ServiceConfig, spec: ModelSpec) -> Iterator[str]:
    for camera in config.cameras:
        try:
            lowest_of(camera, spec, config.path)
        except SsdEdgeError as error:
            yield f"{camera.name}: {error}"


def _problems_of_collection(camera: CameraConfig, model: Path) -> Iterator[str]:
    """Yield what is wrong with the second engine by which hard frames are found."""
    for output in camera.outputs:
        against = _against(output)
        if against is not None and against.resolve() == model.resolve():
            yield (
                f"{camera.name}, output collect: against {against}: it is the engine that runs: name another one, such "
                "as FP32 beside INT8"
            )


def _against(output: OutputConfig) -> Path | None:
    """Return the second engine by which an output finds hard frames; None if it has none."""
    against = output.settings.get("against") if output.kind == "collect" else None
    return None if against is None else Path(against)


def _problems_of_page(page: PageConfig) -> Iterator[str]:
    """Yield what is wrong with the live page; another program, such as this service itself, may have its port now."""
    try:
        check_page(page.address, token_of(page))
        socket.create_server((page.address.host, 0), family=page.address.family).close()
    except SsdEdgeError as error:
        yield str(error)
    except OSError as error:
        yield f"the page cannot be served on {page.address}: {error.strerror or error}"


def _problem_of_output(output: OutputConfig) -> str:
    path, against = file_written(output), _against(output)
    if against is not None and not against.exists():
        return f"against {against}: there is no such model"
    if path is not None:
        return _problem_of_path(path, output.kind in FOLDERS)
    # What is served here needs nobody to answer.
    return _problem_of_address(output.target) if output.kind in ("mqtt", "webhook") else ""


def _problem_of_path(path: Path, is_folder: bool) -> str:
    """Say why a file or folder cannot be written; empty if it can."""
    if path.exists() and path.is_dir() != is_folder:
        return f"cannot write {path}: it is {'a file' if is_folder else 'a folder'}"
    folder = path if is_folder else path.parent
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir():
        return f"cannot write {path}: {there} is a file"
    if there != folder and not is_folder:
        return f"cannot write {path}: there is no folder {folder}: mkdir -p {folder}"
    if not os.access(there, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        return f"cannot write {path}: this user may not write there"
    return ""


def _problem_of_address(address: str) -> str:
    """Say why nothing can be sent to an address; empty if something listens there."""
    parts = urlsplit(address)
    place = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
    try:
        with socket.create_connection(place, timeout=_PATIENCE):
            return ""
    except OSError as error:
        return f"nobody answers at {parts.scheme}://{place[0]}:{place[1]}: {error.strerror or error}"
