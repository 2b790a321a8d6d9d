"""Where a network output is, and who may use it: an address, with user and password from it or the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from ssd_edge.errors import SinkError
from ssd_edge.stream.addresses import shown


@dataclass(frozen=True)
class Endpoint:
    """An address in parts; neither ``str`` nor ``repr`` has the user or password.

    Attributes:
        scheme: such as ``mqtts``.
        host: name or IP address, without the brackets of IPv6.
        port: the port, the scheme's own where the address has none.
        path: the path with its query as they stand in the address.
        user, password: from the address, else from the environment; "" for none.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_endpoint(address: str, ports: Mapping[str, int], variables: str, example: str) -> Endpoint:
    """Read an address.

    Args:
        address: such as ``mqtt://user:password@host:1883/prefix``; what is percent-encoded in the user and password
            is decoded.
        ports: the schemes that are allowed, each with its usual port.
        variables: ``NAME`` if the user and password that the address lacks are those of the environment variables
            ``NAME_USER`` and ``NAME_PASSWORD``.
        example: an address of the right form, for the sentence.

    Raises:
        SinkError: it has another form.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), 0
    # A path may be secret, as many webhooks' are.
    met = re.match(r"(?:[A-Za-z][A-Za-z0-9+.\-]*:/{0,2})?[^/]*", shown(address))
    odd = any(ord(letter) <= 32 or ord(letter) == 127 for letter in address)
    if parts.scheme not in ports or not parts.hostname or port == 0 or odd:
        raise SinkError(
            f"{met[0] if met else ''!r} is not an address of the form {example}; in a user or password write /, ?, # "
            f"and @ as %2F, %3F, %23 and %40, or set {variables}_USER and {variables}_PASSWORD"
        )
    return Endpoint(
        parts.scheme,
        parts.hostname,
        ports[parts.scheme] if port is None else port,
        parts.path + (f"?{parts.query}" if parts.query else ""),
        unquote(parts.username or "") or os.environ.get(f"{variables}_USER", ""),
        unquote(parts.password or "") or os.environ.get(f"{variables}_PASSWORD", ""),
    )
