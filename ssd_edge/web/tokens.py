"""Who may see the page: a token that is exchanged for a cookie."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from time import monotonic

from ssd_edge.errors import PageError
from ssd_edge.web.address import Address

VARIABLE = "SSD_EDGE_PAGE_TOKEN"
SHORTEST = 16
COOKIE = "ssd_edge_session"

_MOST_SESSIONS = 64
_SESSION_SECONDS = 12 * 3600.0


def read_token(file: Path | None) -> str | None:
    """Return the page's token: of a file, or of the environment's variable; None if there is none.

    Raises:
        PageError: the file cannot be read, or the token is too short to be safe.
    """
    if file is not None:
        return token_in(file)
    return safe_token(os.environ[VARIABLE], VARIABLE) if VARIABLE in os.environ else None


def token_in(file: Path) -> str:
    """Return the page's token that a file holds; raises as ``read_token``."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise PageError(f"cannot read the page's token in {file}: {reason}") from None
    return safe_token(text, str(file))


def safe_token(text: str, where: str) -> str:
    """Return a token without the blanks around it.

    Args:
        text: the token.
        where: where it stands, for errors.

    Raises:
        PageError: it is too short to be safe.
    """
    token = text.strip()
    if len(token) < SHORTEST:
        raise PageError(
            f"the page's token in {where} has {len(token)} characters, but needs at least {SHORTEST}: "
            "make one with: openssl rand -hex 16"
        )
    return token


def refuse_without_token(address: Address, has_token: bool, how: str) -> None:
    """Refuse to show the page to other machines without a token.

    Args:
        address: where the page is served.
        has_token: whether there is a token.
        how: how one is given, for the error.

    Raises:
        PageError: other machines reach the address, and there is no token.
    """
    if not has_token and not address.is_loopback:
        raise PageError(
            f"{address} can be reached from other machines, so the page needs a token: {how}; make one with: openssl "
            "rand -hex 16"
        )


class Door:
    """Checks tokens and sessions; sessions end after twelve hours, and with the run.

    Args:
        token: what opens the door; None to let everybody in.
    """

    def __init__(self, token: str | None) -> None:
        self.is_open = token is None
        self._token = _digest(token or "")
        self._sessions: dict[bytes, float] = {}

    def fits(self, token: str) -> bool:
        """Tell whether a token is right, in a time that says nothing about it."""
        return not self.is_open and hmac.compare_digest(_digest(token), self._token)

    def admit(self) -> str:
        """Begin a session, and return its secret; the oldest of too many ends."""
        secret = secrets.token_urlsafe(32)
        while len(self._sessions) >= _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[_digest(secret)] = monotonic() + _SESSION_SECONDS
        return secret

    def knows(self, secret: str) -> bool:
        """Tell whether a session goes on. What is looked up is a digest, so the time tells nothing of the secret."""
        return self.is_open or self._sessions.get(_digest(secret), 0.0) > monotonic()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
