"""The threads of a run share two arenas of malloc, and what is freed is given back."""

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
from ssd_edge.machine.allocator import share_arenas
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


SCATTERED = """
import ctypes, os
from ssd_edge.machine.allocator import give_back_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def resident():
    return int(open("/proc/self/statm").read().split()[1])
blocks = [libc.malloc(1000) for _ in range(100_000)]
for block in blocks:
    ctypes.memset(block, 1, 1000)
for number, block in enumerate(blocks):
    if number % 1000:
        libc.free(block)  # the rest keeps the whole from being given back
before = resident()
give_back_memory()
print((before - resident()) * os.sysconf("SC_PAGE_SIZE"))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library is not glibc")
def test_what_was_freed_between_other_blocks_is_given_back():
    command = [sys.executable, "-c", SCATTERED]
    about = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    # Of 100 MB, 100 blocks of 1000 bytes stay: each keeps at most two pages, and there is some at the ends.
    assert int(about.stdout) > 100e6 - 100 * 3 * os.sysconf("SC_PAGE_SIZE")
