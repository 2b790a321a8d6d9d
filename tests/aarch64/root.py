"""An aarch64 Python on a machine of another kind: ``python -m tests.aarch64.root`` makes ``build/aarch64/python``.

qemu runs single programs of another processor: no virtual machine, no chroot, nothing registered with the kernel. In
``build/aarch64/root`` lie Debian's Python, the libraries that wheels ask of a system, and the base install's wheels in
the versions of constraints.txt. A path that is there is opened there by qemu; all else, the project too, is the
machine's own. ``--tools`` prints the Debian packages that are missing for this.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "build" / "aarch64" / "python"
"""Behaves as ``python3.11`` does on an aarch64 machine."""

COMPILER = "aarch64-linux-gnu-g++"
QEMU = ("qemu-aarch64-static", "qemu-aarch64")

_TOOLS = {
    QEMU: "qemu-user-static",
    ("mmdebstrap",): "mmdebstrap",
    ("/usr/share/keyrings/debian-archive-keyring.gpg",): "debian-archive-keyring",
    (COMPILER,): "g++-aarch64-linux-gnu",
}
"""Programs, or a file, of which one will do, and the Debian package that has it."""

_SUITE = "bookworm"
_DEBIAN = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgl1", "libglib2.0-0")
_WHEELS = (
    *("av", "faster-coco-eval", "numpy", "onnxruntime", "opencv-python", "openvino", "packaging", "pyyaml", "rich"),
    *("typer", "hypothesis", "onnx", "pytest"),
)
_GLIBC = (17, 24, 26, 27, 28, 31, 34, 35)  # of the platforms that wheels name; bookworm has 2.36

# ONNX Runtime reads this at import, and aborts where it is an x86 processor's.
_CPUINFO = """\
processor\t: {number}
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""

# The processor of AWS Graviton 2: ARMv8.2 with dot products, as the Cortex-A78AE of a Jetson Orin. -0 makes the wrapper
# what Python calls itself, so that it starts itself again.
_WRAPPER = """\
#!/bin/sh
ulimit -c 0
exec {qemu} -cpu neoverse-n1 -0 {python} -L {root} {root}/usr/bin/python3.11 "$@"
"""


class SetUpError(Exception):
    """What is missing, in one sentence."""


def missing_tools() -> list[str]:
    """The Debian packages that are needed and not installed."""
    return [package for names, package in _TOOLS.items() if not any(map(_there, names))]


def _there(name: str) -> bool:
    return Path(name).is_file() if name.startswith("/") else shutil.which(name) is not None


def make(python: Path = PYTHON) -> None:
    """Make the root, and last the wrapper, which stands only before a whole one.

    Raises:
        SetUpError: a tool is not installed, or Debian's archive or the package index gave nothing.
    """
    if platform.machine() == "aarch64":
        raise SetUpError("this machine is one: make test")
    if missing := missing_tools():
        raise SetUpError(f"its tools are missing: apt-get install {' '.join(missing)}")
    qemu = next(path for name in QEMU if (path := shutil.which(name)))
    root = python.with_name("root")
    python.unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)
    python.parent.mkdir(parents=True, exist_ok=True)
    debian = ["mmdebstrap", "--quiet", "--variant=extract", "--arch=arm64", f"--include={','.join(_DEBIAN)}"]
    _run([*debian, _SUITE, str(root), "http://deb.debian.org/debian"], "Debian's packages")
    tags = ["manylinux2014", *(f"manylinux_2_{minor}" for minor in _GLIBC)]
    wheels = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:"]
    wheels += ["--implementation=cp", "--python-version=3.11", "--abi=cp311", "--abi=abi3", "--abi=none"]
    wheels += [f"--platform={tag}_aarch64" for tag in tags]
    wheels += ["--constraint", str(ROOT / "constraints.txt"), *_WHEELS]
    packages = root / "usr/lib/python3/dist-packages"
    _run([*wheels, "--target", str(packages)], "wheels")
    (packages / "ssd_edge.pth").write_text(f"{ROOT}\n")  # the project, for children that do not look where they are
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text("".join(_CPUINFO.format(number=number) for number in range(2)))
    wrapper = python.with_suffix(".part")
    wrapper.write_text(_WRAPPER.format(qemu=qemu, python=python, root=root))
    wrapper.chmod(0o755)
    wrapper.replace(python)


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip() and "WARNING" not in line]
        raise SetUpError(f"{what} of aarch64 could not be had: {(said or ['no reason given'])[-1].strip()}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--tools"]:
        print(*missing_tools())
    else:
        try:
            make()
        except SetUpError as error:
            sys.exit(f"no aarch64 Python: {error}")
