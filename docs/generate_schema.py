"""Write docs/service.schema.json from the form of a service's file (``make docs``)."""

from __future__ import annotations

import json
from pathlib import Path

from ssd_edge.service.service_file import json_schema

PAGE = Path(__file__).with_name("service.schema.json")


def page() -> str:
    """The text of docs/service.schema.json."""
    return json.dumps(json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
