"""``make test-opencv``: cameras, video and drawing with each OpenCV that users have: ``python -m tests.opencvs``.

A Jetson's OpenCV is its system's: 4.5.4 on Ubuntu 22.04, with NumPy 1; NVIDIA's builds are 4.8. Each version gets an
environment of its own with the oldest Python that is supported, and the base install's other packages in their newest
versions.
"""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.lowest import OLDEST, TOOLS, environment, find_uv
from tests.pythons import ROOT, interpreter, run

OPENCVS = {
    "4.5.4": ("opencv-python-headless==4.5.4.60", "numpy==1.26.4"),
    "4.8": ("opencv-python-headless==4.8.1.78", "numpy==1.26.4"),
    "newest": ("opencv-python-headless", "numpy"),
}
TESTS = [
    *("tests/stream", "tests/data/test_picture.py"),
    *("tests/test_pixels.py", "tests/test_preprocess.py", "tests/test_resize.py"),
]


def others(project: Path = ROOT / "pyproject.toml") -> list[str]:
    """List what the base install requires beside OpenCV and NumPy."""
    (base,) = re.findall(r"^dependencies = \[(.*?)^\]", project.read_text(), re.MULTILINE | re.DOTALL)
    required: list[str] = re.findall(r'"([^"]+)"', base)
    return [one for one in required if not one.startswith(("opencv", "numpy"))]


def main() -> int:
    """Run the tests with each OpenCV; exit code 1 if one failed, 2 if none could run."""
    uv, python = find_uv(), interpreter(OLDEST)
    if uv is None or python is None:
        print(f"missing: {'uv, which make installs into .venv/uv' if uv is None else f'Python {OLDEST}'}")
        return 2
    results = []
    for name, packages in OPENCVS.items():
        folder = ROOT / ".venv" / f"opencv-{name}"
        try:
            inside = environment(uv, python, folder, partial(_beside, packages), (*TOOLS, "onnx"))
        except subprocess.CalledProcessError as error:
            print(f"{', '.join(packages)} could not be installed ({' '.join(error.cmd[1:3])})")
            return 1
        passed = run(inside, TESTS, plugin="tests.without_extras")
        results.append((passed, f"OpenCV {name}: {'passed' if passed else 'FAILED'}: {_installed(inside)}"))
    print(*(line for _, line in results), sep="\n")
    return int(not all(passed for passed, _ in results))


def _beside(packages: tuple[str, ...]) -> list[str]:
    return [*packages, *others()]


def _installed(python: Path) -> str:
    """Ask for the versions of OpenCV and NumPy."""
    code = "import cv2, numpy; print(f'OpenCV {cv2.__version__}, NumPy {numpy.__version__}')"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
