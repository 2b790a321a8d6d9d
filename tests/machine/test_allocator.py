"""The threads of a run share two arenas of malloc; what is freed is given back, or kept where it is needed again."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from ssd_edge.machine.allocator import freed_memory_kept
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


AGAIN = """
import ctypes, os, resource
from contextlib import nullcontext
from ssd_edge.machine.allocator import freed_memory_kept, let_go_of_freed_memory
libc, size, page = ctypes.CDLL(None), 64 << 20, os.sysconf("SC_PAGE_SIZE")
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of one size, to be counted
def use():
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
def pages_of(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        use()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / (size / page)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * page
with {kept}:
    {first}
    use()
    again, most = pages_of(10), resident()
print(again, (most - resident()) / size, pages_of(10))
"""


def used_again(kept: str, first: str = "", **environment: str) -> list[float]:
    """Return the blocks that came anew from the system, of ten, what was given back at the end, and of ten later."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", AGAIN.format(kept=kept, first=first)]
    about = subprocess.run(command, env={**known, **environment}, cwd=ROOT, capture_output=True, text=True, check=True)
    return [float(one) for one in about.stdout.split()]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library is not glibc")
def test_freed_memory_is_kept_meanwhile_and_given_back():
    again, given_back, later = used_again("freed_memory_kept()")
    assert again < 0.5
    assert given_back > 0.9
    assert later > 9
    # Without it each block is new, and so in a worker, and where the environment has its own settings.
    assert used_again("nullcontext()")[0] > 9
    assert used_again("freed_memory_kept()", "let_go_of_freed_memory()")[0] > 9
    assert used_again("freed_memory_kept()", MALLOC_MMAP_MAX_="65536")[0] > 9


def test_freed_memory_is_given_back_after_an_error(monkeypatch):
    called = []
    monkeypatch.setattr("ssd_edge.machine.allocator.let_go_of_freed_memory", lambda: called.append(True))
    monkeypatch.setattr("ssd_edge.machine.allocator._set", lambda values, unless: None)
    with pytest.raises(ZeroDivisionError), freed_memory_kept():
        _ = 1 / 0
    assert called == [True]
