"""Find a font file on this machine that has the glyphs of a text, for OpenCV versions that draw ASCII only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_SUFFIXES = frozenset({".otf", ".ttc", ".ttf"})
_MOST_FILES = 3000
_WIDE = ("cjk", "nanum", "wqy", "wenquanyi", "fallback", "malgun", "msyh", "pingfang", "gothic", "unicode", "unifont")
"""Parts of the names of fonts with many scripts."""
_STYLES = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "serif", "mono", "emoji", "symbol")
_NO_GLYPH = "\U0010fffe"  # no font has it, so it shows the box for a missing glyph


@lru_cache(maxsize=64)
def font_with(text: str) -> Path | None:
    """Find a font file of the system that has all glyphs of a text; None without one, or without Pillow."""
    return next((path for path in _font_files() if _has(path, text)), None)


@lru_cache(maxsize=64)
def opened(path: Path, pixels: int) -> FreeTypeFont:
    """Open a font file at a height in pixels."""
    from PIL import ImageFont

    return ImageFont.truetype(os.fspath(path), pixels)


def orders_leftwards() -> bool:
    """Tell whether Pillow can write from right to left, as Arabic and Hebrew are."""
    try:
        from PIL import features
    except ImportError:
        return False
    return bool(features.check("raqm")) and bool(features.check("fribidi"))


def _has(path: Path, text: str) -> bool:
    try:
        font = opened(path, 16)
        missing = bytes(font.getmask(_NO_GLYPH))
        return all(char.isspace() or bytes(font.getmask(char)) != missing for char in dict.fromkeys(text))
    except (ImportError, OSError, ValueError):  # no Pillow, or a file that is no font
        return False


@lru_cache(maxsize=1)
def _font_files() -> tuple[Path, ...]:
    """List font files, likely and plain ones first."""

    def likely(path: Path) -> tuple[bool, bool, int, str]:
        name = path.name.lower()
        plain = name.removeprefix("notosans").removeprefix("dejavusans")
        return any(style in plain for style in _STYLES), not any(part in name for part in _WIDE), len(name), name

    return tuple(sorted(_walk(), key=likely))


def _walk() -> Iterator[Path]:
    number = 0
    for folder in _folders():
        for root, _, names in os.walk(folder):
            for name in names:
                if Path(name).suffix.lower() in _SUFFIXES:
                    yield Path(root) / name
                    number += 1
                    if number == _MOST_FILES:
                        return


def _folders() -> list[Path]:
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - stays "~" where there is no home, and raises nothing
    if sys.platform == "darwin":
        return [home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")]
    if sys.platform == "win32":
        local = Path(os.environ.get("LOCALAPPDATA", home))
        return [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts", local / "Microsoft/Windows/Fonts"]
    data = os.environ.get("XDG_DATA_HOME", str(home / ".local/share"))
    return [Path(data) / "fonts", home / ".fonts", Path("/usr/local/share/fonts"), Path("/usr/share/fonts")]
