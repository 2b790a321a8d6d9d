"""Build pycuda for the tests into a folder of its own: ``python -m tests.cuda.install_pycuda FOLDER``.

pycuda has no wheel, and its build needs CUDA's headers and a libcuda to link with. The headers come from a CUDA toolkit
(``CUDA_HOME``, the one of ``nvcc``, or /usr/local/cuda). Instead of libcuda an empty library of that name is linked,
since only the name matters: at run time it is the machine's driver, or the emulated one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.helpers import COMPILER

VERSION = "2026.1"


def toolkit() -> Path | None:
    """Find the folder of a CUDA toolkit with headers; None if there is none."""
    return next((folder for folder in _candidates() if (folder / "include" / "cuda.h").is_file()), None)


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("CUDA_HOME"):
        yield Path(home)
    if nvcc := shutil.which("nvcc"):
        yield Path(nvcc).resolve().parents[1]
    yield Path("/usr/local/cuda")


def install(target: Path, cuda: Path, work: Path) -> None:
    """Build and install pycuda; ``work`` is an empty folder for temporary files."""
    library = work / "libcuda.so"
    subprocess.run(
        [COMPILER, "-shared", "-o", library, "-x", "c++", "/dev/null", "-Wl,-soname,libcuda.so.1"],
        check=True,
    )
    # pycuda's own settings file, in the home folder. The library is given among the flags, because flags are what
    # comes last when it links, and a linker may drop a library that nothing was seen to need.
    settings = {
        "CUDA_ROOT": str(cuda),
        "CUDA_INC_DIR": [str(cuda / "include")],
        "CUDADRV_LIB_DIR": [str(work)],
        "CUDA_ENABLE_CURAND": False,
        "CXXFLAGS": ["-O1", "-w"],
        "LDFLAGS": ["-Wl,--no-as-needed", str(library)],
    }
    (work / ".aksetup-defaults.py").write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-binary=pycuda", "--no-cache-dir"]
    subprocess.run(
        [*pip, "--target", target, f"pycuda=={VERSION}"],
        check=True,
        env={
            "XDG_CONFIG_HOME": str(Path.home() / ".config"),
            **os.environ,
            "HOME": str(work),
        },  # pip's own settings stay
    )


def main() -> None:
    target = Path(sys.argv[1])
    cuda = toolkit()
    if cuda is None:
        sys.exit("there is no CUDA toolkit with headers")
    with tempfile.TemporaryDirectory() as work:
        partial = target.with_name(f"{target.name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        install(partial, cuda, Path(work))
        partial.rename(target)


if __name__ == "__main__":
    main()
