"""Instructions of compiled kernels, counted in what NVIDIA's disassembler prints.

These are instructions as they stand in the code, not as often as they run.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(sys.prefix) / "nvdisasm"  # where make test puts it


@dataclass(frozen=True)
class Instructions:
    """Instructions of one kernel, with the subroutines that it calls.

    Attributes:
        all: their number, without padding.
        double: those in FP64, conversions included.
        barriers: those that wait for the whole block.
        loads: those that read global memory.
    """

    all: int
    double: int
    barriers: int
    loads: int


def disassembler() -> Path | None:
    """Find nvdisasm; None if it is not installed."""
    return next(iter(sorted(FOLDER.glob("nvidia/*/bin/nvdisasm"))), None)


def instructions(cubin: bytes) -> dict[str, Instructions]:
    """Count the instructions of each kernel of a cubin, by the kernel's name.

    Raises:
        FileNotFoundError: the disassembler is not installed.
    """
    tool = disassembler()
    if tool is None:
        raise FileNotFoundError(f"no nvdisasm in {FOLDER}: make test installs it")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernels.cubin"
        file.write_bytes(cubin)
        listing = subprocess.run([tool, "-c", file], check=True, capture_output=True, text=True).stdout
    return dict(_kernels(listing))


def _kernels(listing: str) -> Iterator[tuple[str, Instructions]]:
    for part in re.split(r"^\s*\.section\s+\.text\.", listing, flags=re.MULTILINE)[1:]:
        name = re.match(r"\w+", part)
        assert name is not None
        # "@!P0 LDG.E R1, …;" behind an address: the predicate is left out.
        codes = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", part)
        codes = [code for code in codes if code != "NOP"]
        kinds = Counter(code.partition(".")[0] for code in codes)
        double = sum(kind in {"DADD", "DMUL", "DFMA", "DSETP", "DMNMX"} or ".F64" in code
                     for code in codes for kind in [code.partition(".")[0]])  # fmt: skip
        barriers = sum(code.startswith("BAR.") for code in codes)
        yield name[0], Instructions(len(codes), double, barriers, kinds["LDG"] + kinds["LD"])
