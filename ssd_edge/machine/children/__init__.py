"""Programs for questions that may hang, crash, or load a large library; each prints JSON, and ``Host.ask`` runs it.

They are started as ``python -m ssd_edge.machine.children.driver`` and so on.
"""

import json
import sys
from collections.abc import Callable
from typing import Any


def tell(answer: Callable[[], Any]) -> None:
    """Print an answer as JSON, after an empty line which shows that Python has started, so that its time counts."""
    sys.stdout.write("\n")
    sys.stdout.flush()
    json.dump(answer(), sys.stdout)
