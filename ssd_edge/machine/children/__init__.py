"""Questions that may hang, crash, or load a large library: each a program that prints JSON, run by ``Host.ask``.

``python -m ssd_edge.machine.children.driver`` and so on.
"""

import json
import sys
from collections.abc import Callable
from typing import Any


def tell(answer: Callable[[], Any]) -> None:
    """Print an answer as JSON, after an empty line that says that Python is up: its time counts from there."""
    sys.stdout.write("\n")
    sys.stdout.flush()
    json.dump(answer(), sys.stdout)
