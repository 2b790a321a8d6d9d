"""FP32 heads and images in, INT8 heads out. Each step is a function of its own, and ``calibrate`` is their chain.

prepare         heads.onnx → FP32 network, and where its pairs shall stand
observe_images  network, images → a histogram of each tensor that needs a scale
scales_of       network, histograms → scales, by one of ``METHODS``
quantise        network, scales → heads.int8.onnx
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ssd_edge.calibration.network.placement import Placement, place
from ssd_edge.calibration.network.policy import DEFAULT_POLICY, Policy, choose
from ssd_edge.calibration.network.qdq import Int8Weight, insert_qdq, quantised_weights
from ssd_edge.calibration.scales.calibrators import DEFAULT_METHOD
from ssd_edge.calibration.scales.grid import check_method, find_scales
from ssd_edge.calibration.scales.observe import Observations, observe
from ssd_edge.calibration.scales.state import StateFile
from ssd_edge.errors import CalibrationError
from ssd_edge.files import sha256, written_whole
from ssd_edge.graph.fp32 import activations, count_convolutions, read_heads, with_outputs
from ssd_edge.proof import PROOF_KEY
from ssd_edge.spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    import onnx

Images = Iterable[npt.NDArray[np.float32]]
"""(1, 3, H, W) float32 each, from ``ssd_edge.preprocess.preprocess``; read once, one at a time."""


@dataclass(frozen=True)
class Network:
    """FP32 heads, ready to be observed and quantised.

    Attributes:
        path: the file that they come from.
        model: with BatchNorm folded and constants computed, see ``read_heads``.
        placement: where its pairs shall stand.
    """

    path: Path
    model: onnx.ModelProto
    placement: Placement


@dataclass(frozen=True)
class CalibrationResult:
    """What calibration made.

    Attributes:
        path: the INT8 ONNX file.
        scales: of each quantised activation, by tensor name.
        observations: what the scales come from; None where they were given.
        num_quantised: convolutions that became INT8.
        num_convolutions: all convolutions.
    """

    path: Path
    scales: Mapping[str, float]
    observations: Observations | None
    num_quantised: int
    num_convolutions: int

    @property
    def num_images(self) -> int:
        """Images that the scales come from."""
        return self.observations.num_images if self.observations else 0


def calibrate(
    heads: Path,
    output: Path,
    images: Images,
    *,
    method: str = DEFAULT_METHOD,
    policy: Policy = DEFAULT_POLICY,
    least: int = 1,
    everything: bool = False,
    state: StateFile | None = None,
    progress: Callable[[int], None] | None = None,
) -> CalibrationResult:
    """Make an INT8 ONNX file (explicit Q/DQ) of FP32 heads.

    Args:
        heads: the FP32 ONNX file.
        output: the file to write; it appears whole or not at all.
        images: see ``Images``.
        method: a name of ``METHODS``.
        policy: which convolutions become INT8.
        least: fewest images to be content with.
        everything: whether to observe every activation, as a calibration cache for TensorRT needs.
        state: where to keep what was observed, so that an interrupted calibration can go on; removed at the end.
        progress: called after each image with the number of images done.

    Raises:
        CalibrationError: the heads, the images, the method or the policy cannot be used, an activation is not finite,
            or a file cannot be written.
        SpecError: the heads carry a model spec that is not valid.
    """
    check_method(method)
    network = prepare(heads, policy)
    seen = observe_images(network, images, everything=everything, state=state, progress=progress)
    check_number(seen, least)
    result = quantise(
        network,
        scales_of(network, seen, method),
        output,
        seen=seen,
        calibration_method=method,
        calibration_images=str(seen.num_images),
        calibration_images_sha256=seen.image_set_sha256,
    )
    if state is not None:
        state.remove()
    return result


def calibrate_with(
    heads: Path, output: Path, scales: Mapping[str, float], *, policy: Policy = DEFAULT_POLICY
) -> CalibrationResult:
    """Make an INT8 ONNX file of FP32 heads with scales that are known already; other arguments as in ``calibrate``.

    Raises:
        CalibrationError: the heads or the policy cannot be used, a scale is missing, or the file cannot be written.
        SpecError: the heads carry a model spec that is not valid.
    """
    return quantise(prepare(heads, policy), scales, output, calibration_method="given scales")


def prepare(heads: Path, policy: Policy = DEFAULT_POLICY) -> Network:
    """Read FP32 heads, choose the convolutions that become INT8, and place pairs for them.

    Raises:
        CalibrationError: the heads or the policy cannot be used.
    """
    model = read_heads(heads)
    return Network(heads, model, place(model, choose(model, policy)))


def observe_images(
    network: Network,
    images: Images,
    *,
    everything: bool = False,
    state: StateFile | None = None,
    progress: Callable[[int], None] | None = None,
) -> Observations:
    """Histograms of the tensors that need a scale, or of every activation; arguments as in ``calibrate``.

    Raises:
        CalibrationError: the images cannot be used, an activation is not finite, or the state cannot be written.
    """
    needed = network.placement.observed
    tensors = tuple(dict.fromkeys((*needed, *activations(network.model)))) if everything else needed
    wider = with_outputs(network.model, tensors)
    seen = state.begin(wider, tensors) if state is not None else Observations.of(tensors)

    def each(seen: Observations) -> None:
        if state is not None:
            state.save(seen)
        if progress is not None:
            progress(seen.num_images)

    observe(wider, seen, images, each)
    return seen


def check_number(seen: Observations, least: int) -> None:
    """Raise CalibrationError where fewer images could be used."""
    if seen.num_images < least:
        raise CalibrationError(f"calibration needs at least {least} images, but only {seen.num_images} could be used")


def scales_of(network: Network, seen: Observations, method: str) -> dict[str, float]:
    """The scale of each tensor that has a pair.

    Raises:
        CalibrationError: the method is not one of ``METHODS``.
    """
    placement = network.placement
    found = find_scales({name: seen.histograms[name] for name in placement.observed}, method)
    return {name: found[source] for name, source in placement.scale_of.items()}


def every_scale(result: CalibrationResult, method: str) -> dict[str, float]:
    """The scale of every tensor that was observed; of those with a pair, the one in the file.

    Raises:
        CalibrationError: the method is not one of ``METHODS``.
    """
    observed = find_scales(result.observations.histograms, method) if result.observations else {}
    return {**observed, **result.scales}


def quantise(
    network: Network,
    scales: Mapping[str, float],
    output: Path,
    *,
    weights: Mapping[str, Int8Weight] | None = None,
    seen: Observations | None = None,
    **facts: str,
) -> CalibrationResult:
    """Write the network with its pairs.

    Args:
        network: FP32.
        scales: of each tensor that has a pair, by name; others are passed over.
        output: the file to write; it appears whole or not at all.
        weights: on their grids, by name; rounded to the nearest step where not given.
        seen: what the scales come from.
        facts: for the provenance of the model's spec, beside its parent.

    Raises:
        CalibrationError: a scale is missing, or the file cannot be written.
        SpecError: the heads carry a model spec that is not valid.
    """
    placement = network.placement
    missing = [name for name in placement.readers if name not in scales]
    if missing:
        listed = ", ".join(map(repr, missing[:3])) + (" …" if len(missing) > 3 else "")
        raise CalibrationError(
            f"the scales lack {len(missing)} of the {len(placement.readers)} tensors that need one ({listed}): "
            "take those of this very network, or calibrate with images"
        )
    chosen = {name: scales[name] for name in placement.readers}
    quantised = insert_qdq(network.model, placement, chosen, weights or quantised_weights(network.model, placement))
    _drop_proof(quantised)
    _add_provenance(quantised, parent=network.path.name, parent_sha256=sha256(network.path), **facts)
    try:
        with written_whole(output) as partial:
            partial.write_bytes(quantised.SerializeToString())
    except OSError as error:
        raise CalibrationError(f"cannot write {output}: {error.strerror}") from None
    return CalibrationResult(output, chosen, seen, len(placement.convolutions), count_convolutions(network.model))


def _drop_proof(model: onnx.ModelProto) -> None:
    """The FP32 heads' proof says what those find, and not what these do."""
    kept = [entry for entry in model.metadata_props if entry.key != PROOF_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)


def _add_provenance(model: onnx.ModelProto, **facts: str) -> None:
    """Record facts in the model's spec, where it carries one."""
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = ModelSpec.from_text(entry.value).with_provenance(**facts).to_text()
