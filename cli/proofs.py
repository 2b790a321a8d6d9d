"""Proofs of models, which ``export``, ``import-onnx`` and ``calibrate`` store in the heads that they write."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.cli.common import progress, say

if TYPE_CHECKING:
    from ssd_edge.pixels import Image

WithProof = Annotated[
    bool,
    typer.Option(
        "--proof/--no-proof",
        help="Store up to 8 of the images (1 MiB) with the model's detections in the file, to check every engine "
        "built from it; --no-proof for private images.",
    ),
]
"""The option that says whether a proof is stored."""


def keep(heads: Path, frames: Iterable[Image] | None) -> None:
    """Store a proof made of these images in heads, and say what it holds; None: mark the heads as without proof."""
    if frames is None:
        from ssd_edge.graph.heads import add_proof

        add_proof(heads, None)
        return
    from ssd_edge.engines.proof.prove import CLEAR_ABOUT_NOTHING, keep_proof

    with progress("recording the proof"):
        proof = keep_proof(heads, frames)
    if proof.counted:
        say(f"its proof: {proof.counted} detections in {len(proof.images)} images, by which engines are checked")
    else:
        say(f"its proof shows nothing: {CLEAR_ABOUT_NOTHING}", "yellow")


def keep_proof_in(parent: Path, frames: Iterable[Image] | None, wanted: bool) -> Callable[[Path], None]:
    """Return a function that stores a proof in heads made from a parent; see ``frames_for``."""
    return lambda heads: keep(heads, frames_for(heads, parent, frames, wanted))


def frames_for(heads: Path, parent: Path, frames: Iterable[Image] | None, wanted: bool) -> Iterable[Image] | None:
    """Return the images for the proof of heads made from a parent; None if heads or parent are to have no proof.

    Args:
        heads: the heads that were made.
        parent: the FP32 heads, or a file that cannot hold a proof, such as a description.
        frames: images to use; None for those of the parent's proof.
        wanted: whether a proof was asked for.
    """
    from ssd_edge.graph.heads import read_proof, read_spec
    from ssd_edge.proof import Proof

    packed = read_proof(parent) if parent.suffix == ".onnx" else None
    if wanted and packed == b"":
        say(f"no proof is kept in {heads.name}, as {parent.name} was made with --no-proof")
    if not wanted or packed == b"":
        return None
    if frames is None:
        return Proof.unpack(packed, read_spec(parent)).images if packed else ()
    return frames
