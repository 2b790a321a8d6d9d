"""Sentences for pycuda's errors, which carry the driver's text and not its name."""

from __future__ import annotations

import ctypes
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pycuda.driver as cuda

from ssd_edge.engines.cuda.driver import no_function, refused


@contextmanager
def translated_errors(doing: str) -> Iterator[None]:
    """Translate pycuda's errors into sentences; of the driver's answer they carry only the text."""
    try:
        yield
    except (cuda.Error, UnicodeDecodeError) as error:
        # pycuda destroys a stream with its last reference, so the error, which may live long, must not hold one.
        traceback.clear_frames(error.__traceback__)
        # For a module a compiler's log follows, which is arbitrary bytes if the driver did not write one.
        message = error.object if isinstance(error, UnicodeDecodeError) else str(error).encode()
        text = re.sub(rb"^\w+ failed: | - .*", b"", message, flags=re.DOTALL).decode(errors="replace")
        raise refused(errors()[1].get(text, text), doing) from None


@cache
def library() -> ctypes.CDLL:
    """Load the driver's library, of which pycuda lacks some calls."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


@cache
def errors() -> tuple[dict[int, str], dict[str, str]]:
    """Map the driver's errors to their names, by number and by text."""
    name, text = ctypes.c_char_p(), ctypes.c_char_p()
    try:
        name_of, text_of = (library()[function] for function in ("cuGetErrorName", "cuGetErrorString"))
    except AttributeError as error:
        raise no_function(str(error).rpartition(" ")[2]) from None
    by_number, by_text = {}, {}
    for number in range(1, 1000):
        known = not name_of(number, ctypes.byref(name))
        if known and not text_of(number, ctypes.byref(text)) and name.value and text.value:
            by_number[number] = by_text[text.value.decode()] = name.value.decode()
    return by_number, by_text
