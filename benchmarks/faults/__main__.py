"""Print the table of faults; exit code 1 if a goal is missed."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from faults.catalogue import FAULTS, run_faults
from faults.row import line, table


def main() -> int:
    """Make the faults asked for."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--only", choices=FAULTS, action="append", help="this fault; may be repeated")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, with all that was reported")
    arguments = parser.parse_args()
    if not arguments.json:
        print("\n".join(table([])), flush=True)
    missed = 0
    for row in run_faults(list(dict.fromkeys(arguments.only or FAULTS))):
        missed += not row.met
        print(json.dumps({**asdict(row), "met": row.met}) if arguments.json else line(row), flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
