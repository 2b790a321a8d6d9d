"""Addresses as they may be printed: without user, password, or what a query carries."""

from __future__ import annotations

import re

HIDDEN = "…"
"""Stands for what is not shown."""

_AT = re.compile("@|%40", re.IGNORECASE)
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*:/{1,2}"
_SETTING = re.compile("/.*(=|%3d)", re.IGNORECASE | re.DOTALL)
# In quotes an address may hold blanks; otherwise it ends at one.
_IN_TEXT = re.compile(rf'(?<=")(?={_SCHEME})[^"]*|(?<=\')(?={_SCHEME})[^\']*|(?:{_SCHEME})\S+')
_SECRET = re.compile(
    r"""\b((?:user|proxy)-(?:id|pw)|\w*(?:passw(?:or)?d|pwd|token|secret))(\s*=\s*)("(?:\\.|[^"\\])*"|'[^']*'|\S+)""",
    re.IGNORECASE,
)


def shown(address: str) -> str:
    """Return an address for people: scheme, host, port and path only.

    A password that its owner did not percent-encode may hold ``@``, ``/``, ``?`` or ``#``, and nothing tells such an
    address from one with these signs in its path or query. So whatever could belong to a password is left out:
    all before the last ``@``, the query, the path from the first part with a ``=`` on (some cameras take the password
    there), and even the host where an ``@`` follows a ``?``, a ``#`` or such a part.

    Args:
        address: such as ``rtsp://user:password@host:554/path?query``.
    """
    scheme, slashes, rest = re.match(rf"({_SCHEME})?(/*)(.*)", address, re.DOTALL).groups("")  # type: ignore[union-attr]
    place, mark, query = _cut(rest)
    *before, after = _AT.split(place)
    host, *path = after.split("/")
    if _AT.search(query) or _SETTING.search("/".join(before)) or "=" in host:
        return f"{scheme}{slashes}{HIDDEN}"
    kept = [host]
    for part in path:
        if _SETTING.search(f"/{part}"):
            kept.append(HIDDEN)
            break
        kept.append(part)
    return f"{scheme}{slashes}{'/'.join(kept)}{mark and mark + HIDDEN}"


def without_secrets(text: str) -> str:
    """Return a text, such as a pipeline or a library's message, with its addresses and passwords as ``shown``."""
    text = _IN_TEXT.sub(lambda found: shown(found[0]), text)
    return _SECRET.sub(lambda found: f"{found[1]}{found[2]}{HIDDEN}", text)


def _cut(text: str) -> tuple[str, str, str]:
    """Split a text at the first ``?`` or ``#``."""
    found = re.search(r"[?#]", text)
    return (text, "", "") if found is None else (text[: found.start()], found[0], text[found.end() :])
