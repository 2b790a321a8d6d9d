"""``ssd-edge collect``: what to do with the frames that ``run --collect`` brought home."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ssd_edge.cli.common import print_json, progress, say


def collect(
    action: Annotated[Literal["review"], typer.Argument(help="review.", metavar="ACTION")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of ssd-edge run --collect.")],
    page: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE.html", dir_okay=False, help="The page to write. By default FOLDER/review.html."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the frames and their reasons as JSON.")] = False,
) -> None:
    """Look at the hard frames that ssd-edge run --collect brought home.

    review writes a page with each frame, the boxes that the model suggests, and the reasons for which it was collected.
    The folder is a Pascal VOC data set: correct the boxes with a labelling tool, then train on it.

    Next: ssd-edge check-data FOLDER
    """
    from ssd_edge.files import write_text_whole
    from ssd_edge.outputs.collect.review import read_collection, review_page

    review = read_collection(folder)
    page = page or folder / "review.html"
    with progress("drawing frames") as bar:
        text = review_page(review, folder.resolve().name, bar)
    write_text_whole(page, text)
    if as_json:
        frames = [
            {"picture": str(one.picture), "camera": one.camera, "reasons": dict(one.reasons), "boxes": len(one.boxes)}
            for one in review.frames
        ]
        print_json({"page": str(page), "frames": frames, "by_reason": review.by_reason(), "unread": review.unread})
        return
    told = ", ".join(f"{kind} {number}" for kind, number in review.by_reason().items())
    say(f"{len(review.frames)} frames{f': {told}' * bool(told)}; {page}")
    for line in review.unread:
        say(f"not shown: {line}", "yellow")
