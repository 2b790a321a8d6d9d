"""``python -m tests.fuzz --number 10000 --seed 1``: damaged inputs in number, and the names of those that fail."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.run import cases_of, run_cases


def main() -> int:
    """Run what the command line asks for; returns 1 if a case fails."""
    from tests.fuzz.borders import BORDERS, make_samples

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=sys.modules["__main__"].__doc__)
    parser.add_argument("--number", type=int, default=10_000, help="how many inputs")
    parser.add_argument("--seed", type=int, default=1, help="seed of all of them")
    parser.add_argument("--kind", nargs="*", choices=sorted(BORDERS), help="kinds of inputs; all by default")
    parser.add_argument("--only", nargs="*", metavar="KIND:SEED", help="these inputs, as a failure names them")
    chosen = parser.parse_args()
    cases = chosen.only or cases_of(chosen.kind or sorted(BORDERS), chosen.number, chosen.seed)
    with tempfile.TemporaryDirectory() as scratch:
        make_samples(Path(scratch) / "samples")
        outcome = run_cases(cases, Path(scratch) / "samples", Path(scratch) / "run")
    for case, failure in outcome.failures.items():
        print(f"--- {case}\n{failure}\n")
    for kind in sorted({*outcome.answers, *outcome.sentences}):
        print(f"{kind}: {outcome.answers[kind]} answers, {outcome.sentences[kind]} sentences")
    print(f"{outcome.total} inputs, {len(outcome.failures)} failures")
    return bool(outcome.failures)


if __name__ == "__main__":
    sys.exit(main())
