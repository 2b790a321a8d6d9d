"""The systemd unit of a service: its text, made of what the service needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssd_edge.errors import ServiceError

MARK = "# Written by ssd-edge service install. Change it with systemctl edit, or install it again."
"""First line of a unit that ssd-edge wrote; a unit without it is someone else's."""

FILE_KEY = "X-SsdEdge-File"
"""Key of the unit that names the service's file; systemd passes over keys that begin with X-."""

WATCHDOG = 60
"""Seconds without a sign of life after which systemd ends and restarts the service."""


@dataclass(frozen=True)
class Unit:
    """What a unit says.

    Attributes:
        program: the program ``ssd-edge``.
        file: the service's file.
        writes: folders into which the service writes.
        user: the user that it runs as; None for a unit of the user's own manager.
        secrets: file of environment variables, such as passwords, which need not exist.

    Raises:
        ServiceError: a path or the user's name cannot be written into a unit.
    """

    program: Path
    file: Path
    writes: Sequence[Path]
    user: str | None
    secrets: Path

    def __post_init__(self) -> None:
        for path in (self.program, self.file, self.secrets, *self.writes):
            if not str(path).isprintable():
                raise ServiceError(f"systemd cannot name {str(path)!r}: give it a name without line breaks")
        if self.user is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.user):
            raise ServiceError(f"a user's name has letters, digits, _, . and -, but got {self.user!r}")

    def text(self) -> str:
        """Return the unit."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from (
            MARK,
            "[Unit]",
            f"Description=ssd-edge: detects objects as {_name(self.file)} says",
            f"{FILE_KEY}={_name(self.file)}",
        )
        if self.user is not None:  # a user's manager knows no network-online.target
            yield from ("Wants=network-online.target", "After=network-online.target")
        yield from (
            "# Tried again for ever: nobody is there who could start it.",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "Type=notify",
            "# A broker or camera may come up later than this machine.",
            f"ExecStart={_word(self.program)} run --config {_word(self.file)} --wait",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "Restart=on-failure",
            "RestartSec=5",
            "# A model may take minutes to load on a device that has just started.",
            "TimeoutStartSec=600",
            f"WatchdogSec={WATCHDOG}",
            "TimeoutStopSec=30",
            "# The exit code of an end while it starts.",
            "SuccessExitStatus=130",
            f"EnvironmentFile=-{_name(self.secrets)}",
            "UMask=0027",
            "NoNewPrivileges=yes",
            "LockPersonality=yes",
            "RestrictSUIDSGID=yes",
        )
        if self.user is not None:
            yield from self._of_the_system(self.user)
        yield from ("", "[Install]", f"WantedBy={'default' if self.user is None else 'multi-user'}.target")

    def _of_the_system(self, user: str) -> Iterator[str]:
        """Yield what only the system's manager can do."""
        yield from (
            f"User={user}",
            "# Cameras and GPUs are devices of these groups; a group that does not exist would be an error, so",
            "# others are added by systemctl edit. Devices stay visible: PrivateDevices would hide the cameras.",
            "SupplementaryGroups=video",
            "CapabilityBoundingSet=",
            "ProtectSystem=strict",
            "ProtectHome=read-only",
            "PrivateTmp=yes",
            "CacheDirectory=ssd-edge",
            "Environment=XDG_CACHE_HOME=/var/cache/ssd-edge",
        )
        yield from (f"ReadWritePaths=-{_path(folder)}" for folder in self.writes)
        yield from (
            "ProtectKernelTunables=yes",
            "ProtectKernelModules=yes",
            "ProtectKernelLogs=yes",
            "ProtectControlGroups=yes",
            "ProtectClock=yes",
            "ProtectHostname=yes",
            "RestrictNamespaces=yes",
            "RestrictRealtime=yes",
            "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
            "SystemCallArchitectures=native",
            "# No MemoryDenyWriteExecute: OpenVINO and CUDA compile into memory.",
        )


def file_of(text: str) -> Path | None:
    """Return the service's file that a unit names; None if the unit is not one of ssd-edge's."""
    found = re.search(rf"^{FILE_KEY}=(.*)$", text, re.MULTILINE)
    return Path(found[1].replace("%%", "%")) if found and text.startswith(MARK) else None


def _name(path: Path) -> str:
    """Write a path as the whole value of a key."""
    return str(path).replace("%", "%%")


def _word(path: Path) -> str:
    """Write a path as a word of a command line."""
    escaped = re.sub(r'(["\\])', r"\\\1", _name(path)).replace("$", "$$")
    return f'"{escaped}"' if re.search(r"[\s'\"\\;]", escaped) else escaped


def _path(path: Path) -> str:
    """Write a path as a word of a list."""
    return re.sub(r"([\s\"'\\])", r"\\\1", _name(path))
