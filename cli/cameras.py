"""``ssd-edge cameras``: the cameras of this machine, with formats, sizes and frame rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssd_edge.cli.common import cell, print_json, say

if TYPE_CHECKING:
    from ssd_edge.machine.finding import Finding
    from ssd_edge.machine.host import Host


def cameras(as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False) -> None:
    """List this machine's cameras: formats, sizes and frame rates, as their drivers tell them.

    No camera is started or changed.

    Next: ssd-edge run NAME.engine --camera 0 --size 1280x720 --fps 30 --format mjpg
    """
    from ssd_edge.machine.cameras import probe
    from ssd_edge.machine.host import this_host

    host = this_host()
    findings = probe(host)
    devices = [finding for finding in findings if "device" in finding.facts]
    if as_json:
        print_json({"cameras": [{**one.to_json(), "modes": _modes(host, one)} for one in devices]})
        return
    for finding in findings:
        if finding in devices:
            _show(host, finding)
        else:
            say(f"{finding.name}: {finding.value}")


def _modes(host: Host, finding: Finding) -> list[dict[str, Any]]:
    """List the modes of a camera: format, size, and rates, which are empty where the driver does not say."""
    from ssd_edge.machine.cameras import listed_rates

    rates: Mapping[str, Mapping[str, Sequence[float]]] = {}
    if "formats" in finding.facts:  # those of a CSI camera are raw data, which its pipeline turns into pictures
        rates = listed_rates(host, finding.facts["device"].removeprefix("/dev/"))
    return [
        {"format": kind, "size": size, "rates": list(values)}
        for kind, sizes in rates.items()
        for size, values in sizes.items()
    ]


def _show(host: Host, finding: Finding) -> None:
    from rich.console import Console
    from rich.table import Table

    modes = _modes(host, finding)
    title = f"{finding.name}: {finding.value}" + (f"; {finding.remedy}" if str(finding.remedy) else "")
    console = Console(highlight=False)
    console.print(cell(title), soft_wrap=True)
    if not modes:
        return
    table = Table(box=None)
    for heading in ("format", "size", "frames per second"):
        table.add_column(heading)
    for mode in modes:
        told = ", ".join(f"{rate:g}" for rate in mode["rates"])
        table.add_row(cell(mode["format"]), mode["size"], told or "not told")
    console.print(table)
