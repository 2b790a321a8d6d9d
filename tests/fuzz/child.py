"""The process in which borders read damaged inputs: one line before each, and one with what came of it.

``python -m tests.fuzz.child SAMPLES SCRATCH KIND:SEED …``
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import traceback
import warnings
from pathlib import Path

MOST_BYTES = 2 << 30
"""Memory that an input may take, beyond what the libraries take themselves."""


def main(samples: Path, scratch: Path, cases: list[str]) -> None:
    """Read each case, and tell on stdout."""
    answers = os.fdopen(os.dup(1), "w")  # what libraries print themselves goes elsewhere
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    warnings.simplefilter("ignore")
    from ssd_edge.errors import SsdEdgeError
    from ssd_edge.stream.sources import _hush
    from tests.fuzz.borders import BORDERS, make_damaged, register_tiny

    _hush()
    register_tiny()
    os.environ["XDG_CACHE_HOME"] = str(scratch / "cache")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES,) * 2)
    for case in cases:
        kind, _, seed = case.partition(":")
        folder = scratch / "case"
        shutil.rmtree(folder, ignore_errors=True)
        make_damaged(samples, kind, int(seed), folder)
        print(json.dumps({"begins": case}), file=answers, flush=True)
        try:
            BORDERS[kind].read(folder)
            outcome = {"answer": ""}
        except (SsdEdgeError, OSError) as error:
            outcome = {"sentence": str(error)[:5000]}
        except BaseException:
            outcome = {"traceback": traceback.format_exc()[-5000:]}
        print(json.dumps({"ends": case, **outcome}), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
