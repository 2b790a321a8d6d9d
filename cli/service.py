"""``ssd-edge service``: install, look at and remove a systemd unit that keeps ``ssd-edge run --config`` running."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ssd_edge.cli.common import print_json, say

if TYPE_CHECKING:
    from ssd_edge.service.systemd import Manager

_NOT_WELL = 1


def service(
    action: Annotated[
        Literal["install", "status", "uninstall"],
        typer.Argument(help="install, status or uninstall.", metavar="ACTION"),
    ],
    config: Annotated[
        Path | None, typer.Argument(metavar="FILE.yaml", help="For install: the file of ssd-edge run --config.")
    ] = None,
    name: Annotated[
        str, typer.Option("--name", help="Name of the unit, for several services on one machine.")
    ] = "ssd-edge",
    user: Annotated[
        bool, typer.Option("--user", help="A service of your own, which needs no root, rather than of the system.")
    ] = False,
    run_as: Annotated[
        str | None,
        typer.Option("--run-as", metavar="USER", help="The user that the service runs as. By default who calls sudo."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the unit, and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
) -> None:
    """Keep ssd-edge run --config FILE.yaml running with systemd: at each start of the machine, and after a failure.

    install checks the file, writes a unit with a watchdog, and starts it; it never overwrites a unit that ssd-edge did
    not write. status shows what systemd and the service's own /healthz say, and ends with 1 if it is not well.

    Next: journalctl -u ssd-edge -f, to read what it says
    """
    from ssd_edge.errors import ServiceError
    from ssd_edge.service.systemd import manager

    if (config is None) == (action == "install"):
        raise ServiceError(
            "install needs the service's file: ssd-edge service install FILE.yaml"
            if action == "install"
            else f"{action} takes no file: the unit knows it"
        )
    of = manager(name, user)
    if config is not None:
        _install(of, config, run_as, dry_run)
    elif action == "status":
        _status(of, as_json)
    elif dry_run:
        say(f"would stop {name}.service and remove {of.path}")
    else:
        of.uninstall()
        say(f"stopped and removed: {of.path}")


def _install(of: Manager, config: Path, run_as: str | None, dry_run: bool) -> None:
    from ssd_edge.service.folders import folders_written
    from ssd_edge.service.reading import read_service, variables_of

    variables = variables_of(config)
    read = read_service(config, dict.fromkeys(variables, "x"))  # their values are those of the service
    unit = of.unit(config, folders_written(read), run_as)
    if dry_run:
        typer.echo(unit.text(), nl=False)
        return
    of.install(unit)
    say(f"written: {of.path}; {of.name}.service is starting")
    if variables:
        say(f"{of.secrets} must set {', '.join(variables)}: NAME=VALUE, one a line; keep it readable for root only")
    if of.own:
        say("it ends when you log out, unless you call: loginctl enable-linger")
    journal = "journalctl --user" if of.own else "journalctl"
    say(f"next: {journal} -u {of.name} -f; systemctl {'--user ' * of.own}reload {of.name} after a change of {config}")


def _status(of: Manager, as_json: bool) -> None:
    from ssd_edge.service.asking import asked_health

    state = dict(of.state())
    health = asked_health(of.file())
    if as_json:
        print_json({"unit": str(of.path), "systemd": state, "health": health})
    else:
        for line in _lines(of, state, health):
            say(line)
    if state.get("ActiveState") != "active" or not (health or {"healthy": True})["healthy"]:
        raise typer.Exit(_NOT_WELL)


def _lines(of: Manager, state: dict[str, str], health: dict[str, Any] | None) -> list[str]:
    if state.get("LoadState") == "not-found":
        return [f"there is no {of.name}.service: ssd-edge service install FILE.yaml makes one"]
    about = f"{of.name}.service: {state.get('ActiveState', '?')} ({state.get('SubState', '?')})"
    lines = [f"{about}, {state.get('UnitFileState') or 'not enabled'}, {state.get('NRestarts', '?')} restarts"]
    lines += [state["StatusText"]] if state.get("StatusText") else []
    if health is None:
        return [*lines, "its file serves no /healthz: add metrics: 9090"]
    lines += [f"/healthz: {health['reason']}"] if "reason" in health else []
    for name, camera in health.get("cameras", {}).items():
        told = camera.get("reason") or f"{camera['fps']} FPS"
        lines.append(f"{name}: {'well' if camera['healthy'] else 'NOT WELL'}, {camera['state']}, {told}")
    return lines
