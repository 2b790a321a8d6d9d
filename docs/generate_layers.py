"""Draw the layers in docs/architecture.md from the import contract (``make docs``); a test fails where the two differ.

The contract stands in pyproject.toml and is checked by ``make check``: a module imports only what stands below it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomllib

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path(__file__).with_name("architecture.md")
BEGIN, END = "<!-- layers: made by docs/generate_layers.py -->\n", "<!-- end of layers -->\n"
WIDTH = 76


def layers() -> list[str]:
    """Return the contract's layers, top first, as written in pyproject.toml."""
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    return list(contract["layers"])


def diagram() -> str:
    """Draw one box per layer; modules side by side in a box may import each other, those in separate boxes may not."""
    lines = []
    for layer in layers():
        apart = [part.strip() for part in layer.split("|")]
        widths = [(WIDTH - 3 * (len(apart) - 1)) // len(apart)] * len(apart)
        edge = "   ".join("+" + "-" * (width - 2) + "+" for width in widths)
        texts = ["   ".join(name.strip() for name in part.split(":")) for part in apart]
        row = "   ".join(f"| {text:<{width - 4}} |" for text, width in zip(texts, widths, strict=True))
        lines += [edge, row, edge]
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page with the diagram between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n```text\n{diagram()}\n```\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
