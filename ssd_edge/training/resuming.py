"""Check that an interrupted training can be resumed."""

from __future__ import annotations

from pathlib import Path

from ssd_edge.errors import ModelError
from ssd_edge.parsing import as_text, shown
from ssd_edge.spec import METADATA_KEY, ModelSpec
from ssd_edge.training.averaging import AVERAGE_KEY
from ssd_edge.training.checkpoints import read_torch_file
from ssd_edge.training.module import KIND_KEY, DetectorModule

OF_THE_NETWORK = ("architecture", "input_size", "labels", "levels", "clip", "channel_order", "mean", "std", "variances")
"""Fields of the spec that a training keeps from its first step to its last."""


def epochs_done(last: Path, spec: ModelSpec, kind: str, ema: bool = False) -> int:
    """Count the epochs that an interrupted training has done.

    Args:
        last: its ``last.ckpt``.
        spec: the model that is trained now.
        kind: the kind of training now, see ``DetectorModule.kind``.
        ema: whether the training now keeps a moving average of the weights.

    Raises:
        ModelError: the file is missing, or holds another model or another kind of training.
    """
    if not last.exists():
        raise ModelError(f"there is nothing to resume from in {last.parent}: start without --resume")
    content = read_torch_file(last)
    if METADATA_KEY not in content or "loops" not in content:
        raise ModelError(f"{last} is not a training that can be resumed: start without --resume")
    before = ModelSpec.from_text(str(content[METADATA_KEY]))
    for name in OF_THE_NETWORK:
        old, new = getattr(before, name), getattr(spec, name)
        if old != new:
            sides = (as_text(old), as_text(new)) if name == "input_size" else (shown(old), shown(new))
            values = "" if name == "levels" else f" {sides[0]}, and not {sides[1]}"
            raise ModelError(
                f"{last} was trained with other {name}{values}: resume with the options it began with, or start "
                "without --resume"
            )
    kind_before = " ".join(str(content.get(KIND_KEY, DetectorModule.kind)).split())[:200]
    if kind_before != kind:
        raise ModelError(
            f"{last} is of {kind_before}, and not of {kind}: resume with the options it began with, or start without "
            "--resume"
        )
    if ema != (AVERAGE_KEY in content):
        before_now = ("without", "with") if ema else ("with", "without")
        raise ModelError(
            f"{last} was trained {before_now[0]} a moving average of the weights, and not {before_now[1]} one: resume "
            "with the options it began with, or start without --resume"
        )
    epoch = content.get("epoch")
    if not isinstance(epoch, int) or epoch < 0:
        raise ModelError(f"{last} is damaged: its epoch is no number; start without --resume")
    return epoch + 1
