"""Export a checkpoint to heads.onnx."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ssd_edge.detector import RawHeads
from ssd_edge.files import sha256
from ssd_edge.graph.heads import write_heads
from ssd_edge.models.ssd import SSD
from ssd_edge.spec import ModelSpec

OPSET = 20


@dataclass(frozen=True)
class Agreement:
    """Differences between exported heads and PyTorch's on real images.

    Attributes:
        images: number of images compared.
        loc: largest absolute difference of a regression value.
        logits: largest absolute difference of a logit.
    """

    images: int
    loc: float
    logits: float


def export_onnx(network: SSD, output: Path, checkpoint: Path | None = None) -> ModelSpec:
    """Write an ONNX file with input ``image`` (1, 3, H, W) and outputs ``loc`` (1, A, 4), ``logits`` (1, A, C).

    Args:
        network: the network to export; it is put into evaluation mode.
        output: the ONNX file to write; it holds the weights, and the spec in its metadata.
        checkpoint: recorded as the parent in the spec's provenance.

    Returns:
        The spec as written.
    """
    facts = {"torch": torch.__version__, "opset": str(OPSET)}
    if checkpoint is not None:
        facts |= {"parent": checkpoint.name, "parent_sha256": sha256(checkpoint)}
    spec = network.spec.with_provenance(**facts)
    example = torch.zeros(1, 3, *spec.input_size)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network.eval().to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["loc", "logits"],
                external_data=False,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    write_heads(program.model_proto, spec, output)
    return spec


def compare(
    network: SSD,
    run: Callable[[npt.NDArray[np.float32]], RawHeads],
    images: Iterable[npt.NDArray[np.float32]],
) -> Agreement:
    """Find the largest differences between PyTorch's heads and the exported ones.

    Args:
        network: the PyTorch network.
        run: runs the exported heads on one image.
        images: preprocessed, (1, 3, H, W) each.
    """
    count, loc, logits = 0, 0.0, 0.0
    for image in images:
        with torch.no_grad():
            expected = [head.numpy() for head in network(torch.from_numpy(image))]
        exported = run(image)
        # np.max keeps a NaN, which must not pass as agreement; max() would drop it.
        loc = float(np.max([loc, np.abs(exported.loc - expected[0]).max()]))
        logits = float(np.max([logits, np.abs(exported.logits - expected[1]).max()]))
        count += 1
    return Agreement(count, loc, logits)
