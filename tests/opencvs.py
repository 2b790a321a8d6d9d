"""``make test-opencv``: cameras, video and drawing with each OpenCV that users have: ``python -m tests.opencvs``.

A Jetson's OpenCV is its system's: 4.5.4 on Ubuntu 22.04, with NumPy 1; NVIDIA's builds are 4.8. Each version gets an
environment of its own with the oldest Python that is supported, and the base install's other packages in their newest
versions.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.lowest import OLDEST, TOOLS, find_uv
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


def environment(uv: str, python: str, folder: Path, packages: tuple[str, ...]) -> Path:
    """Return the Python of an environment with these packages, which is made if it is absent.

    Raises:
        subprocess.CalledProcessError: a package could not be installed.
    """
    made, inside = folder / ".installed", folder / "bin" / "python"
    if not made.is_file():
        print(f"installing into {folder}: a minute or two", flush=True)
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
        install = [uv, "pip", "install", "--quiet", "--no-config", "--python", str(inside)]
        subprocess.run([*install, *packages, *others(), *TOOLS, "onnx"], check=True)
        subprocess.run([*install, "--no-deps", "--editable", str(ROOT)], check=True)
        made.touch()
    return inside


def main() -> int:
    """Run the tests with each OpenCV; exit code 1 if one failed, 2 if none could run."""
    uv, python = find_uv(), interpreter(OLDEST)
    if uv is None or python is None:
        print(f"missing: {'uv, which make installs into .venv/uv' if uv is None else f'Python {OLDEST}'}")
        return 2
    passed = {}
    for name, packages in OPENCVS.items():
        inside = environment(uv, python, ROOT / ".venv" / f"opencv-{name}", packages)
        passed[name] = run(inside, TESTS, plugin="tests.without_extras")
    for name, is_right in passed.items():
        print(f"OpenCV {name}: {'passed' if is_right else 'FAILED'}: {', '.join(OPENCVS[name])}")
    return int(not all(passed.values()))


if __name__ == "__main__":
    sys.exit(main())
