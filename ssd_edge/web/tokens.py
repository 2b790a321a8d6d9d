"""Who may see the page: a token that is exchanged for a cookie."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from time import monotonic

from ssd_edge.errors import PageError

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
        try:
            token, where = file.read_text("utf-8").strip(), str(file)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise PageError(f"cannot read the page's token in {file}: {reason}") from None
    else:
        token, where = os.environ.get(VARIABLE, "").strip(), VARIABLE
        if VARIABLE not in os.environ:
            return None
    if len(token) < SHORTEST:
        raise PageError(
            f"the page's token in {where} has {len(token)} characters, but needs at least {SHORTEST}: "
            "make one with: openssl rand -hex 16"
        )
    return token


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
