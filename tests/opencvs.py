"""``make test-opencv``: cameras, video, drawing and the command line with each OpenCV that users have.

A Jetson's OpenCV is its system's: 4.5.4 on Ubuntu 22.04, with NumPy 1; NVIDIA's builds are 4.8. Each version gets an
environment of its own, with the base install's other packages in their newest versions. Its Python is the one that
the system's ``python3-gi`` is made for, so that GStreamer's tests run, where that is supported and OpenCV has wheels
for it; else the oldest that is supported. ``python -m tests.opencvs --into FOLDER`` installs elsewhere.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.lowest import OLDEST, TOOLS, environment, find_uv
from tests.pythons import DEBIAN, ROOT, VERSIONS, interpreter, run

OPENCVS = {
    "4.5.4": ("opencv-python-headless==4.5.4.60", "numpy==1.26.4"),
    "4.8": ("opencv-python-headless==4.8.1.78", "numpy==1.26.4"),
    "newest": ("opencv-python-headless", "numpy"),
}
FOR_OLDEST_ONLY = frozenset({"4.5.4"})
"""Those whose wheels are for Pythons up to the oldest that is supported."""
GI = Path(DEBIAN) / "gi"
TESTS = [
    "tests/cli/test_loop.py",
    *("tests/stream", "tests/outputs", "tests/loop", "tests/data/test_picture.py"),
    *("tests/test_pixels.py", "tests/test_preprocess.py", "tests/test_resize.py"),
]


def others(project: Path = ROOT / "pyproject.toml") -> list[str]:
    """List what the base install requires beside OpenCV and NumPy."""
    (base,) = re.findall(r"^dependencies = \[(.*?)^\]", project.read_text(), re.MULTILINE | re.DOTALL)
    required: list[str] = re.findall(r'"([^"]+)"', base)
    return [one for one in required if not one.startswith(("opencv", "numpy"))]


def of_gstreamer(folder: Path = GI) -> list[str]:
    """List the supported Pythons that the system's ``python3-gi`` is made for; usually one, the system's own."""
    numbers = [match[1] for path in folder.glob("_gi.*") if (match := re.search(r"cpython-3(\d+)-", path.name))]
    return [version for version in VERSIONS if version.removeprefix("3.") in numbers]


def pythons(name: str, folder: Path = GI) -> list[str]:
    """List the Pythons for an OpenCV's environment, the best first."""
    suitable = [] if name in FOR_OLDEST_ONLY else of_gstreamer(folder)
    return [*suitable, OLDEST]


def main() -> int:
    """Run the tests with each OpenCV; exit code 1 if one failed, 2 if none could run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=ROOT / ".venv", help="folder of the environments")
    parser.add_argument("--only", choices=OPENCVS, action="append", help="this OpenCV; may be repeated")
    arguments = parser.parse_args()
    uv = find_uv()
    if uv is None or interpreter(OLDEST) is None:
        print(f"missing: {'uv, which make installs into .venv/uv' if uv is None else f'Python {OLDEST}'}")
        return 2
    results = []
    for name in arguments.only or OPENCVS:
        packages = OPENCVS[name]
        version, python = next((one, path) for one in pythons(name) if (path := interpreter(one)) is not None)
        folder = arguments.into / f"opencv-{name}-python{version}"
        try:
            inside = environment(uv, python, folder, partial(_beside, packages), (*TOOLS, "onnx"))
        except subprocess.CalledProcessError as error:
            print(f"{', '.join(packages)} could not be installed ({' '.join(error.cmd[1:3])})")
            return 1
        passed = run(inside, TESTS, plugin="tests.without_extras")
        outcome = "passed" if passed else "FAILED"
        results.append(
            (passed, f"OpenCV {name}: {outcome}: Python {version}, {_installed(inside)}; {_of_pipelines(inside)}")
        )
    print(*(line for _, line in results), sep="\n")
    return int(not all(passed for passed, _ in results))


def _beside(packages: tuple[str, ...]) -> list[str]:
    return [*packages, *others()]


def _installed(python: Path) -> str:
    """Ask for the versions of OpenCV and NumPy."""
    code = "import cv2, numpy; print(f'OpenCV {cv2.__version__}, NumPy {numpy.__version__}')"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _of_pipelines(python: Path) -> str:
    """Say whether GStreamer's tests could run in an environment."""
    code = "from tests.stream.test_gstreamer import found; print(found())"
    done = subprocess.run([str(python), "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.stdout.strip() == "True":
        return "with GStreamer"
    versions = ", ".join(of_gstreamer()) or "no supported Python"
    return f"GStreamer's tests were skipped: the system's python3-gi is for {versions}"


if __name__ == "__main__":
    sys.exit(main())
