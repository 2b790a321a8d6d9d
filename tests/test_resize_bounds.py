"""The resize reads nothing outside a frame: frames are placed directly beside unreadable memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers import ROOT

# Runs in its own process, which crashes if a byte outside is read, as OpenCV 5.0's INTER_LINEAR does on ARM here.
PROGRAM = """
import ctypes, mmap, sys
import numpy as np
from ssd_edge.resize import RESIZES

libc = ctypes.CDLL(None, use_errno=True)
PROT_NONE = 0
libc.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

def guarded(image):
    # Place the image at the end of its pages, and at their beginning, with an unreadable page on either side.
    pages = -(-image.nbytes // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
    whole = np.frombuffer(memory, np.uint8)
    inner = whole[mmap.PAGESIZE : -mmap.PAGESIZE]
    for page in (0, pages + 1):
        assert libc.mprotect(whole.ctypes.data + page * mmap.PAGESIZE, mmap.PAGESIZE, PROT_NONE) == 0
    for place in (inner[-image.nbytes :], inner[: image.nbytes]):
        place[:] = image.ravel()
        yield place.reshape(image.shape)

for side in (300, 320, 512):
    for height, width in ((side + 1, side + 1), (side + 1, 2 * side - 1), (side - 1, side + 1), (480, 640), (3, 5)):
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        wanted = RESIZES[sys.argv[1]](image, (side, side))
        for frame in guarded(image):
            assert np.array_equal(RESIZES[sys.argv[1]](frame, (side, side)), wanted), (side, height, width)
print("read nothing else")
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect of Linux's C library")
@pytest.mark.parametrize("how", ["linear", "area"])
def test_nothing_outside_the_frame_is_read(how):
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "read nothing else\n"), done.stderr
