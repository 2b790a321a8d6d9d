"""Repeat the tests of the host code on the machine's own GPU, if there is one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cuda.fixtures import REAL_GPU
from tests.helpers import ROOT

LOOK = """
from ssd_edge.engines.cuda.device import open_driver
from ssd_edge.errors import BackendError
try:
    print(open_driver().device_count())
except BackendError as error:
    print(error)
"""


@pytest.mark.gpu
def test_the_host_code() -> None:
    """Runs in another process, since this one has the emulated driver."""
    answer = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    if not answer.strip().isdigit():
        pytest.skip(answer.strip())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/engines/cuda/test_cuda.py"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False, env={**os.environ, REAL_GPU: "1"}
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:]
