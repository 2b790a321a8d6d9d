"""Addresses at which pages are served."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import NamedTuple

from ssd_edge.errors import PageError
from ssd_edge.parsing import shown

DEFAULT_ADDRESS = "127.0.0.1:8080"
"""Only this machine reaches it."""


class Address(NamedTuple):
    """An IP address and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as in an address: ``127.0.0.1:8080``, ``[::1]:8080``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        """The family of its sockets."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.host).is_loopback


def read_address(text: str, what: str, example: int, lowest: int = 0) -> Address:
    """Read ``8080``, ``192.168.1.5:8080`` or ``[::1]:8080``; a port alone is served on loopback.

    Args:
        text: the address; port 0 lets the system choose.
        what: what is served there, for errors.
        example: a port, for errors.
        lowest: lowest port that may be named.

    Raises:
        ValueError: it is none of these.
    """
    match = re.fullmatch(r"(?:(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+|localhost)):)?([0-9]{1,5})", text.strip())
    try:
        if match is None or not lowest <= int(match[3]) <= 65535:
            raise ValueError
        host = match[1] or match[2] or "127.0.0.1"
        host = "127.0.0.1" if host == "localhost" else str(ipaddress.ip_address(host))
    except ValueError:
        raise ValueError(
            f"the address of the {what} is a port or IP:PORT, such as {example}, 127.0.0.1:{example} or "
            f"[::1]:{example}, but got {shown(text)}"
        ) from None
    return Address(host, int(match[3]))


def parse_address(text: str) -> Address:
    """Read the page's address, see ``read_address``.

    Raises:
        PageError: it is none.
    """
    try:
        return read_address(text, "page", 8080)
    except ValueError as error:
        raise PageError(str(error)) from None
