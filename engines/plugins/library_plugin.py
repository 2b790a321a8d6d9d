"""Find, check and load the C++ library of decode nodes (``library/``)."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

from ssd_edge.engines.kernels.launch import source_digest
from ssd_edge.errors import BackendError

NAME = "libssd_edge_plugin.so"
VARIABLE = "SSD_EDGE_PLUGIN_LIBRARY"

PROJECT = Path(__file__).with_name("library")

_loaded: list[ctypes.CDLL] = []


def load(tensorrt: Any, folder: Path | None = None) -> None:
    """Load the library, which registers its plugins with TensorRT.

    Args:
        tensorrt: the module ``tensorrt``; it has loaded TensorRT's libraries.
        folder: another folder to look in, such as a bundle's.

    Raises:
        BackendError: the library is missing, or was built from other kernels or for another TensorRT.
    """
    path = _find(folder)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise BackendError(f"decode library needs {path}, which cannot be loaded ({error}): {_build()}") from None
    try:
        kernels, release = library.ssd_edge_plugin_kernels, library.ssd_edge_plugin_tensorrt
    except AttributeError:
        raise BackendError(f"{path} is no plugin library of ssd-edge: {_build()}") from None
    kernels.restype = ctypes.c_char_p
    if kernels().decode() != source_digest():
        raise BackendError(f"{path} was built from other kernels than this release of ssd-edge has: {_build()}")
    major = int(tensorrt.__version__.partition(".")[0])
    if release() != major:
        raise BackendError(f"{path} was built for TensorRT {release()}, and {major} is running: {_build()}")
    _loaded.append(library)


def _find(folder: Path | None) -> Path:
    """Path of the library: from the variable, else in the folder, else left to the system's loader."""
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise BackendError(f"{VARIABLE} is {named}, which is no file: {_build()}")
        return Path(named).resolve()
    if folder is not None and (folder / NAME).is_file():
        return (folder / NAME).resolve()
    return Path(NAME)


def _build() -> str:
    return f"cmake -S {PROJECT} -B build && cmake --build build && export {VARIABLE}=$PWD/build/{NAME}"
