"""A process that has used an engine must survive signals: Ctrl-C, SIGTERM, the end of a child."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys
from pathlib import Path
import numpy as np
from ssd_edge.engines import openvino as backend
from ssd_edge.engines.bundle.load import load_bundle

if sys.argv[2] == "planted":
    backend.core = backend.core.__wrapped__  # a Core for each engine, destroyed with it

engines = [load_bundle(Path(sys.argv[1])) for _ in range(2)]
height, width = engines[0].spec.input_size
while engines:  # the first one made is the first one gone
    engine = engines.pop(0)
    engine.submit(np.zeros((1, 3, height, width), np.float32))()
    engine.close()
    del engine
signal.signal(signal.SIGUSR1, lambda *_: None)
for _ in range(3):
    os.kill(os.getpid(), signal.SIGUSR1)
print("alive")
"""


def run(bundle: Path, how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SCRIPT, str(bundle), how], capture_output=True, text=True, timeout=60)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the fault is of OpenVINO on Linux")
def test_a_signal_after_two_engines_are_gone_is_survived(bundle: Path) -> None:
    result = run(bundle, "as it is")
    assert result.stdout == "alive\n", (result.returncode, result.stderr)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the fault is of OpenVINO on Linux")
def test_this_check_sees_the_fault(bundle: Path) -> None:
    """OpenVINO puts up its stack only where the processor's registers need it (AVX-512 and more)."""
    result = run(bundle, "planted")
    if result.returncode == 0:
        pytest.skip("this OpenVINO on this processor does not have the fault")
    assert result.returncode == -11
