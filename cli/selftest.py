"""``ssd-edge selftest``: run the tests that need the target device, in one command."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.cli.common import print_json, progress, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssd_edge.engines.selftest.sections import Section, Work

FRAMES = 24
_COLOURS = {"passed": "green", "failed": "red", "not run": "yellow"}


def selftest(
    heads: Annotated[
        Path | None,
        typer.Argument(
            help="FP32 heads of the model to test, or the name of one section to run; without heads, sections that "
            "need a model are not run.",
            show_default=False,
        ),
    ] = None,
    int8: Annotated[
        Path | None, typer.Option(help="INT8 heads of the same model, from ssd-edge calibrate.", show_default=False)
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of images or data set to test with; by default a rendered scene.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Output folder; by default selftest-DATE.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Run only this section; may be repeated.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Run fewer rounds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Test this device: kernels, capture, decode, precisions, batches, sanitizers, trtexec, latency, clocks and heat.

    A section that cannot run here is listed as not run, never as passed; without a GPU, those for CPUs run. The
    results go to one folder: selftest.html, selftest.json, and the engines. Exit code 0: nothing failed; 1: something
    failed.

    Next: send the folder along with your question
    """
    from ssd_edge.data.images import sample_images
    from ssd_edge.engines.selftest.builds import Builds
    from ssd_edge.engines.selftest.results import counts, write_results
    from ssd_edge.engines.selftest.sections import Setting, run_sections
    from ssd_edge.graph.heads import read_spec
    from ssd_edge.machine.examine import examine
    from ssd_edge.machine.host import this_host
    from ssd_edge.machine.summary import summary

    if heads is not None and not heads.exists() and str(heads) in _works([]):  # a section's name in their place
        heads, only = None, [str(heads), *(only or [])]
    works = _works(only or [])
    folder = output or Path(f"selftest-{datetime.now():%Y%m%d-%H%M}")
    spec = read_spec(heads) if heads is not None else None
    if int8 is not None:
        read_spec(int8)
    frames = list(sample_images(images, FRAMES))
    folder.mkdir(parents=True, exist_ok=True)
    host = this_host()
    findings = {section: [one.to_json() for one in each] for section, each in examine(host).items()}
    machine = {**summary(host), "doctor": findings}
    builds = Builds(folder)
    setting = Setting(heads, int8, spec, frames, folder, builds.engine, quick)
    done: list[Section] = []

    def keep(section: Section) -> None:
        """Write the results so far, so that Ctrl-C does not lose them."""
        done.append(section)
        write_results(done, machine, folder)
        say(f"{section.status:8} {section.name}: {section.sentence}", _COLOURS[section.status])
        left = builds.time_left([name for name in works if name not in {one.name for one in done}])
        if left:
            say(left)

    with progress("selftest") as bar:
        run_sections(setting, works, bar, keep)
    if as_json:
        print_json({"counts": counts(done), "sections": [one.to_json() for one in done], "machine": machine})
    page = folder / "selftest.html"
    say(f"{folder}: the results" + (f"; open {page}" if page.exists() else "; pip install jinja2 makes a page of them"))
    if any(section.status == "failed" for section in done):
        raise typer.Exit(1)


def _works(only: list[str]) -> Mapping[str, Work]:
    from ssd_edge.engines.selftest import batches, capture, engines, frame_memory, kernels, proof, tools

    works: dict[str, Work] = {
        "proof": proof.proof,
        "cpu": engines.cpu,
        "emulated": tools.emulated,
        "kernels": kernels.kernels,
        "frame-memory": frame_memory.frame_memory,
        "capture": capture.capture,
        "decode-forms": engines.decode_forms,
        "precisions": engines.precisions,
        "batches": batches.batches,
        "sanitizer": tools.sanitizer,
        "trtexec": tools.trtexec,
        "latency": engines.latency,
    }
    unknown = [name for name in only if name not in works]
    if unknown:
        raise typer.BadParameter(f"no section is called {unknown[0]!r}; there are {', '.join(works)}")
    return {name: work for name, work in works.items() if not only or name in only}
