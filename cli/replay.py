"""``ssd-edge replay``: repeat what was recorded, to the last bit or with another engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.cli.common import cell, print_json, progress, say

if TYPE_CHECKING:
    from ssd_edge.replay.differences import Differences
    from ssd_edge.replay.reading import Recording
    from ssd_edge.replay.sides import Side


def replay(
    recording: Annotated[Path, typer.Argument(help="Folder that run --record wrote, or one file in it.")],
    engine: Annotated[
        list[Path],
        typer.Option(
            "--engine",
            "-e",
            help="Engine NAME.engine/, or NAME.onnx, NAME.pt or NAME.ckpt. Give it twice to compare two.",
        ),
    ],
    camera: Annotated[
        str | None, typer.Option(show_default=False, help="Which camera, where several were recorded.")
    ] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Feed frames at their own times; otherwise as fast as the engine is.")
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Write a page of what one engine finds and the other does not; of one engine, compared with the "
            "recording.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Feed recorded frames to an engine, and compare the result with the recorded one to the last bit.

    If anything differs, the first stage that does is named: decode of the picture, preprocess, network, decode of
    boxes, or tracking. An engine for a GPU shows only the first and the last two.

    Two engines are compared with each other: how many objects each finds that the other does not, and their speed.

    Exit code 0: nothing differs, or two engines were compared; 1: something differs from the recording; 2: the
    recording or an engine cannot be used.

    Next: ssd-edge replay FOLDER --engine OLD.engine --engine NEW.engine --page compare.html
    """
    from ssd_edge.replay.reading import open_recording

    if len(engine) > 2:
        raise typer.BadParameter("give --engine once, or twice to compare two engines")
    recorded = open_recording(recording, camera)
    if len(engine) == 2:
        _compare(recorded, engine[0], engine[1], realtime, page, as_json)
    elif not _repeat(recorded, engine[0], realtime, page, as_json):
        raise typer.Exit(1)


def _repeat(recorded: Recording, path: Path, realtime: bool, page: Path | None, as_json: bool) -> bool:
    """Compare an engine with the recording; return whether all is equal."""
    from ssd_edge.replay import sides
    from ssd_edge.replay.check import as_json as as_plain
    from ssd_edge.replay.words import sentences

    side, other = _ran(recorded, path, path.name, realtime)
    verdict, faults = side.verdict, recorded.faults()
    assert verdict is not None
    if page is not None:
        _write_page(recorded, (sides.recorded(recorded), side), page)
    if as_json:
        print_json({**as_plain(verdict), "engine": str(path), "engine_differs": other, "faults": faults})
        return verdict.equal
    for fault in faults:
        say(fault, "yellow")
    if other:
        say(f"another engine than recorded: {'; '.join(other)}", "yellow")
    first, *rest = sentences(verdict)
    say(first, "bold green" if verdict.equal else "bold red")
    for sentence in rest:
        say(sentence)
    if page is not None:
        say(f"page: {page}")
    return verdict.equal


def _compare(recorded: Recording, first: Path, second: Path, realtime: bool, page: Path | None, as_json: bool) -> None:
    """Compare two engines with each other."""
    names = (first.name, second.name) if first.name != second.name else (str(first), str(second))
    pair = tuple(_ran(recorded, path, name, realtime)[0] for path, name in zip((first, second), names, strict=True))
    found = _write_page(recorded, (pair[0], pair[1]), page)
    faults = recorded.faults()
    if as_json:
        speeds = {side.name: side.speed and {"fps": side.speed.fps, **side.speed.latency._asdict()} for side in pair}
        print_json({**found.to_json(), "first": names[0], "second": names[1], "speed": speeds, "faults": faults})
        return
    for fault in faults:
        say(fault, "yellow")
    _print(found, pair)
    if page is not None:
        say(f"page: {page}")


def _ran(recorded: Recording, path: Path, name: str, realtime: bool) -> tuple[Side, list[str]]:
    """Run an engine over the recording; also return how it differs from the one that was recorded."""
    from ssd_edge.engines.identity import differences, identity_of
    from ssd_edge.engines.opening import open_model
    from ssd_edge.replay.check import check_labels
    from ssd_edge.replay.sides import found_by

    with open_model(path, say) as opened:
        check_labels(recorded, opened)
        other = differences(recorded.head.engine, identity_of(path, opened))
        with progress(f"replaying with {name}") as bar:
            return found_by(recorded, name, opened, realtime, bar), other


def _write_page(recorded: Recording, pair: tuple[Side, Side], path: Path | None) -> Differences:
    """Compare two sides, and write the page if it is wanted."""
    from ssd_edge.files import write_text_whole
    from ssd_edge.replay.differences import differences
    from ssd_edge.replay.page import WORST, page
    from ssd_edge.replay.sides import beside

    found = differences(list(beside(recorded, *pair)), recorded.labels, WORST)
    if path is not None:
        with progress("drawing") as bar:
            write_text_whole(path, page(recorded, pair, found, bar))
    return found


def _print(found: Differences, pair: tuple[Side, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    first, second = (side.name for side in pair)
    table = Table()
    for number, heading in enumerate(("class", "both", f"only {first}", f"only {second}")):
        table.add_column(cell(heading), justify="right" if number else "left", overflow="fold")
    for one in (*found.classes, found.overall):
        table.add_row(cell(one.label), str(one.both), str(one.first), str(one.second))
    Console().print(table)
    say(f"they differ in {found.different} of {found.frames} frames")
    of_all = found.overall
    for name, other, share, interval in (
        (second, first, of_all.second_has, of_all.second_has_interval),
        (first, second, of_all.first_has, of_all.first_has_interval),
    ):
        if share is not None:
            width = f" ({100 * interval.low:.1f} … {100 * interval.high:.1f})" if interval else ""
            say(f"{name} has {100 * share:.1f} %{width} of what {other} finds")
    for side in pair:
        if side.speed is not None:
            latency = side.speed.latency
            say(f"{side.name}: {side.speed.fps:.1f} FPS, latency {1000 * latency.p50:.1f} ms")
