"""``make test-aarch64``: what every machine has to compute alike, tested on the other processor by qemu."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.aarch64 import made_elsewhere
from tests.aarch64.root import COMPILER, PYTHON, ROOT

TESTS = (
    "tests/test_spec.py",
    "tests/test_arithmetic.py",
    "tests/test_boxes.py",
    "tests/test_detections.py",
    "tests/test_resize.py",
    "tests/test_resize_bounds.py",
    "tests/test_preprocess.py",
    "tests/test_decode.py",
    "tests/engines/kernels/test_kernels.py",
    "tests/engines/test_openvino.py",
    "tests/engines/test_onnxruntime.py",
    "tests/engines/bundle/test_bundle.py",
    "tests/engines/cpu/test_exact.py",
    "tests/engines/cpu/test_weight_bits.py",
    "tests/test_proof.py",
    "tests/engines/proof/test_proving.py",
    "tests/aarch64/test_made_elsewhere.py",
)
"""None of them needs PyTorch, which is not there."""


def main() -> int:
    """Make what is to be opened there, and run the tests; pytest's exit code."""
    made_elsewhere.make()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    # No cache between runs: the project's is this processor's.
    command = [str(PYTHON), "-m", "pytest", "-q", "-p", "no:cacheprovider", *(sys.argv[1:] or TESTS)]
    return subprocess.run(command, cwd=ROOT, env={**environment, "CXX": COMPILER}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
