"""Tell systemd how a service is: the protocol of sd_notify(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from time import clock_gettime_ns


class Notifier:
    """Sends states to the service manager that started this process; without one, it does nothing.

    Args:
        environment: variables of the process: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``.

    Attributes:
        watchdog_every: seconds between two signs of life: half of what the manager waits; None if it expects none.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A name that begins with @ has no file: Linux writes it with a zero byte.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        mine = pid in {"", str(os.getpid())}
        self.watchdog_every = int(usec) / 2e6 if usec.isdecimal() and int(usec) > 0 and mine else None

    def ready(self, status: str = "") -> None:
        """Tell that the service has started, or has read its file again."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Tell that the service reads its file again; ``ready`` ends it."""
        # CLOCK_MONOTONIC is 1 on Linux, the only system that has systemd.
        self._send("RELOADING=1", f"MONOTONIC_USEC={clock_gettime_ns(1) // 1000}")

    def status(self, status: str) -> None:
        """Tell one line that ``systemctl status`` shows."""
        self._send(f"STATUS={status}")

    def alive(self) -> None:
        """Give a sign of life to the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Tell that the service ends."""
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        text = "\n".join(line.replace("\n", " ") for line in lines)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(1)
                sender.sendto(text.encode(), self._address)
        except OSError:
            pass  # a manager that does not listen must not end the service
