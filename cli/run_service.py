"""``ssd-edge run --config``: several cameras, as one file describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import typer

from ssd_edge.cli.common import cell, print_json, say, stderr, was_given
from ssd_edge.errors import ServiceError, SsdEdgeError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from ssd_edge.loop.stats import RunReport
    from ssd_edge.service.config import CameraConfig, ServiceConfig
    from ssd_edge.service.log import Log

_BESIDE_A_FILE = ("config", "check_config", "wait", "frames", "seconds", "as_json")
_PROBLEMS, _ERROR = 1, 2


def example() -> None:
    """Print a file for ``--config``."""
    from ssd_edge.service.service_file import EXAMPLE

    typer.echo(EXAMPLE, nl=False)


def run_service(context: typer.Context, *, check: bool, wait: bool, as_json: bool) -> None:
    """Run, or check, the service of the file that ``run`` was given.

    Args:
        context: the options of ``run``.
        check: whether to check only.
        wait: whether to start without cameras and outputs that are not there yet.
        as_json: whether to print the report as JSON.

    Raises:
        ServiceError: options of the command line are mixed with the file, or the file is wrong.
    """
    from ssd_edge.service.reading import read_service

    _refuse_mixed(context)
    config = read_service(context.params["config"])
    if check:
        _check(config, as_json)
        return
    from ssd_edge.service.running import Service

    log = make_log(config.log)
    limits = {"max_frames": context.params["frames"], "duration": context.params["seconds"]}
    with errors_as(config.log), live_on(stderr(), config.log == "text") as show:
        report = Service(config, log, wait).run(**limits, on_report=lambda now: show(cameras_table(now)))
    if as_json:
        print_json({"model": str(config.model), **report.to_json()})
    elif config.log == "text":
        stderr().print(cameras_table(report))
    log.line(f"ended after {report.seconds:.0f} s", "service")


def make_log(form: str) -> Log:
    """Return the log of a form, on stderr."""
    from ssd_edge.service.log import JsonLog, TextLog

    return JsonLog() if form == "json" else TextLog(say)


@contextmanager
def errors_as(form: str) -> Iterator[None]:
    """Say errors of the block in the form of a log, and end with the exit code that they have."""
    try:
        yield
    except SsdEdgeError as error:
        if form == "text":
            raise  # the program says it
        make_log(form).line(str(error), "run", "error")
        raise typer.Exit(_ERROR) from None


def logging_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Have a command with the option ``log_form`` say its errors in that form."""

    @wraps(command)
    def run(*args: Any, **options: Any) -> None:
        with errors_as(options["log_form"]):
            command(*args, **options)

    return run


@contextmanager
def live_on(console: Console, wanted: bool) -> Iterator[Callable[[RenderableType], None]]:
    """Give what shows a table that changes, while the block runs; it shows nothing where none is wanted."""
    if not wanted:
        yield lambda table: None
        return
    from rich.live import Live

    with Live(console=console, transient=True, refresh_per_second=2) as live:
        yield live.update


def _refuse_mixed(context: typer.Context) -> None:
    mixed = [name for name in context.params if name not in _BESIDE_A_FILE and was_given(context, name)]
    if context.params["config"] is None:
        raise ServiceError("--check-config and --wait need --config FILE.yaml; --example-config prints one")
    if mixed:
        options = {name: option.opts[0] for option in context.command.params for name in [option.name]}
        raise ServiceError(
            f"--config and {options[mixed[0]]} do not go together: write it into the file; beside --config there are "
            "--check-config, --wait, --frames, --seconds and --json"
        )


def _check(config: ServiceConfig, as_json: bool) -> None:
    from ssd_edge.service.check import problems

    found = list(problems(config))
    if as_json:
        cameras = {camera.name: [output.kind for output in camera.outputs] for camera in config.cameras}
        print_json({"file": str(config.path), "model": str(config.model), "cameras": cameras, "problems": found})
    else:
        for problem in found:
            say(problem, "yellow")
        if not found:
            for line in _plan(config):
                say(line)
    if found:
        raise typer.Exit(_PROBLEMS)


def _plan(config: ServiceConfig) -> list[str]:
    where = f"metrics and health on {config.metrics}" if config.metrics else "no metrics"
    if config.page:
        where += f", page on {config.page.address}"
    if any(not address.is_loopback for address in (config.metrics, config.page and config.page.address) if address):
        where += ", which other machines can reach"
    return [
        f"{config.path} is right: {config.model}, {where}",
        *(_camera_line(camera) for camera in config.cameras),
    ]


def _camera_line(camera: CameraConfig) -> str:
    from ssd_edge.stream.addresses import without_secrets

    parts = [without_secrets(camera.source), str(camera.mode), f"buffer {camera.buffer.name}"]
    parts += ["watched"] if camera.watch is not None else []
    parts += [f"{output.kind} to {without_secrets(output.target)}" for output in camera.outputs]
    return f"{camera.name}: {', '.join(part for part in parts if part)}"


def cameras_table(report: RunReport) -> Table:
    """Make a table of several cameras, one a row."""
    from rich.table import Table

    from ssd_edge.service.health import state_of
    from ssd_edge.stream.ledger import in_words

    table = Table(box=None)
    for name in ("camera", "state", "FPS", "age p50, ms", "p99", "shown", "not shown"):
        table.add_column(name, justify="left" if name in ("camera", "state", "not shown") else "right")
    for name, one in report.cameras.items():
        ages = (f"{1000 * one.age.p50:.0f}", f"{1000 * one.age.p99:.0f}")
        told = in_words(one.ledger)
        table.add_row(cell(name), state_of(one), f"{one.fps_now:.1f}", *ages, str(one.processed), told)
    return table
