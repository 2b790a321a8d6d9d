"""The program ``ssd-edge``: all commands, and the one place that turns an error into a sentence and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated

import typer

from ssd_edge import __version__
from ssd_edge.cli.benchmark import benchmark
from ssd_edge.cli.build_engine import build_engine
from ssd_edge.cli.calibrate import calibrate
from ssd_edge.cli.cameras import cameras
from ssd_edge.cli.check_data import check_data
from ssd_edge.cli.check_onnx import check_onnx
from ssd_edge.cli.collect import collect
from ssd_edge.cli.common import NumberLists, printable
from ssd_edge.cli.compare import compare
from ssd_edge.cli.demo import demo
from ssd_edge.cli.doctor import doctor
from ssd_edge.cli.eval import evaluate
from ssd_edge.cli.export import export
from ssd_edge.cli.export_decode import export_decode
from ssd_edge.cli.export_deploy import export_deploy
from ssd_edge.cli.import_model import import_model
from ssd_edge.cli.import_onnx import import_onnx
from ssd_edge.cli.inspect import inspect
from ssd_edge.cli.page_options import PageCommand
from ssd_edge.cli.replay import replay
from ssd_edge.cli.run import run
from ssd_edge.cli.selftest import selftest
from ssd_edge.cli.service import service
from ssd_edge.cli.swap import swap
from ssd_edge.cli.train import train
from ssd_edge.cli.verify import verify
from ssd_edge.errors import SsdEdgeError

app = typer.Typer(
    name="ssd-edge",
    help="Train an SSD on your images, calibrate it to INT8, build an engine for your machine, and run it on a camera."
    "\n\nThe usual order: check-data, train, export, calibrate, build-engine, run. All of it at once: ssd-edge demo.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Make a model": {
        "check-data": check_data,
        "train": train,
        "compare": compare,
        "import": import_model,
        "import-onnx": import_onnx,
        "export": export,
    },
    "Make it fast": {
        "calibrate": calibrate,
        "check-onnx": check_onnx,
        "build-engine": build_engine,
        "export-decode": export_decode,
        "export-deploy": export_deploy,
        "inspect": inspect,
    },
    "Use it": {
        "run": run,
        "replay": replay,
        "service": service,
        "swap": swap,
        "eval": evaluate,
        "benchmark": benchmark,
        "collect": collect,
        "demo": demo,
    },
    "Check the machine": {"doctor": doctor, "cameras": cameras, "verify": verify, "selftest": selftest},
}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_INTERRUPTED = 130  # typer's exit code after Ctrl-C

for _panel, _commands in _PANELS.items():
    for _name, _command in _commands.items():
        _class = PageCommand if _name == "run" else NumberLists
        app.command(_name, cls=_class, rich_help_panel=_panel)(_command)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ssd-edge {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            help="Largest image file that is read, width × height; larger ones are left out and listed. "
            "By default 134217728.",
            show_default=False,
        ),
    ] = None,
    image_bits: Annotated[
        int | None,
        typer.Option(
            help="Bits of each value in 16-bit image files, such as 12 if a camera gives 0 to 4095. By default 16.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Parse the options that stand before a command's name."""
    if max_pixels is not None or image_bits is not None:
        from ssd_edge.data.picture import Decoding

        decoding = Decoding.chosen()
        Decoding(
            decoding.max_pixels if max_pixels is None else max_pixels,
            decoding.bits if image_bits is None else image_bits,
        ).choose()


def main() -> None:
    """Run the program. Exit code 0: done; 2: an error, with its sentence on stderr; 130: Ctrl-C."""
    # By default PyTorch's threads wait for each other in a busy loop, which slows work several times if other threads
    # need the cores, such as those that load images. OpenMP reads the variable once, when PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # SIGTERM, which stops a service, ends a run as Ctrl-C does: files are closed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    for stream in (sys.stdout, sys.stderr):  # names of files need not be text that the terminal can show
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _run()
    except Exception as error:
        if debug:
            traceback.print_exc()
        typer.echo(f"ssd-edge: {printable(_sentence(error))}", err=True)
        _give_up_stdout()
        sys.exit(2)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            typer.echo("ssd-edge: interrupted", err=True)
        raise


def _run() -> None:
    try:
        app(prog_name="ssd-edge")
    finally:
        sys.stdout.flush()  # here an error has a sentence; at Python's exit it would have none


def _give_up_stdout() -> None:
    """Throw away what stdout could not write, so that Python does not try again at its exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _sentence(error: Exception) -> str:
    if isinstance(error, SsdEdgeError):
        return str(error)
    if isinstance(error, OSError):
        what = "the disk is full" if error.errno in _FULL else error.strerror or str(error)
        name = error.filename2 or error.filename
        return f"{what}: {os.fsdecode(name)}" if isinstance(name, str | bytes) else what
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, ImportError) and (remedy := _for_numpy_1(error)):
        return (
            "OpenCV was compiled for NumPy 1, and NumPy 2 is installed: "
            f"{remedy}, or pip install opencv-python, which brings one for NumPy 2"
        )
    told = " ".join(str(error).split())
    return (
        f"a mistake in ssd-edge, or an input that it does not expect ({type(error).__name__}: {told[:200]}): "
        "ssd-edge --debug with the same command shows where; please report it"
    )


def _for_numpy_1(error: ImportError) -> str:
    """Return the remedy for an OpenCV that was compiled for NumPy 1; empty for another error."""
    from ssd_edge.machine.video import NUMPY_1, for_numpy_1

    return NUMPY_1 if for_numpy_1(str(error)) else ""
