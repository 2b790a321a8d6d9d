"""The threads of a run share two arenas of malloc, unless the environment says otherwise."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT

# Threads that all live at once, each with memory of its own: malloc_info names each arena they made.
COUNTED = """
import ctypes, threading
from ssd_edge.loop.arenas import share_arenas
{before}
libc, meet = ctypes.CDLL(None), threading.Barrier(7)
libc.malloc.restype = ctypes.c_void_p
def work():
    libc.malloc(5000)
    meet.wait()
    meet.wait()
for _ in range(6):
    threading.Thread(target=work).start()
meet.wait()
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
meet.wait()
"""


def arenas(before: str, **environment: str) -> int:
    known = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    command = [sys.executable, "-c", COUNTED.format(before=before)]
    about = subprocess.run(command, env={**known, **environment}, cwd=ROOT, capture_output=True, text=True, check=True)
    return about.stdout.count("<heap nr=")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="this C library is not glibc")
def test_threads_share_arenas():
    assert arenas("") >= 6
    assert arenas("share_arenas()") == 2
    assert arenas("share_arenas()", MALLOC_ARENA_MAX="4") == 4
