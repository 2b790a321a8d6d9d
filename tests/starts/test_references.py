"""Imported networks give what the projects' own code gave for the same weights and picture: ``references/*.npz``.

The references were computed in float64 and are kept in float32. The networks compute in float64 here too: in float32,
fifty layers of MobileNet make 7e-5 of rounding, and VGG's sixteen 1e-5 or 2e-5, by the processor. L2Norm's eps stands
inside the root here and outside of it there, which moves a norm of 1 by 5e-7.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ssd_edge import boxes
from ssd_edge.decode import Decoder
from ssd_edge.detections import Detections
from ssd_edge.starts.catalogue import SOURCES
from ssd_edge.starts.convert import fitted
from tests.starts.formula import picture, weights

HERE = Path(__file__).parent / "references"
TOLERANCE = 1e-5

slow = pytest.mark.slow
NETWORKS = [
    pytest.param("torchvision_ssdlite_reduced", "ssdlite320_mobilenet_v3_reduced"),
    pytest.param("torchvision_ssdlite_whole", "ssdlite320_mobilenet_v3_torchvision", marks=slow),
    pytest.param("torchvision_ssd300", "ssd300_vgg16", marks=slow),
    pytest.param("amdegroot_ssd300", "ssd300_vgg16", marks=slow),
    pytest.param("lufficc_ssd300", "ssd300_vgg16", marks=slow),
    pytest.param("lufficc_ssd512", "ssd512_vgg16", marks=slow),
    pytest.param("qfgaohao_vgg16_ssd", "ssd300_vgg16_batchnorm", marks=slow),
    pytest.param("qfgaohao_mb2_ssd_lite", "mb2_ssd_lite", marks=slow),
]


def state_of(reference) -> dict[str, torch.Tensor]:
    shapes = json.loads(bytes(reference["shapes"]))
    return {name: torch.from_numpy(value) for name, value in weights(shapes).items()}


@pytest.mark.parametrize(("name", "architecture"), NETWORKS)
def test_heads_default_boxes_and_detections_are_the_projects_own(name, architecture):
    reference = np.load(HERE / f"{name}.npz")
    network = fitted(state_of(reference), SOURCES[name.split("_")[0]].load(), Path(name))
    spec = network.spec
    assert spec.architecture == architecture
    pixels = (picture(*spec.input_size) - np.asarray(spec.mean)) / np.asarray(spec.std)  # RGB, in float64
    with torch.no_grad():
        heads = network.double()(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    loc, logits = (head[0].numpy() for head in heads)
    rows = reference["rows"]
    np.testing.assert_allclose(loc[rows], reference["loc"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(logits[rows], reference["logits"], rtol=0, atol=TOLERANCE)
    priors = reference["priors"]
    if name.startswith("torchvision"):
        priors = boxes.to_cxcywh(priors)
    np.testing.assert_allclose(boxes.default_boxes(spec)[rows], priors, rtol=0, atol=3e-7)  # a few ulps of 1
    if "scores" in reference:
        if name.startswith("lufficc"):
            spec = replace(spec, top_k=spec.num_default_boxes)  # that code lets all candidates into NMS
        detections = Decoder(spec)(loc.astype(np.float32), logits.astype(np.float32), spec.input_size)
        compare(detections, reference, spec.input_size)


def compare(detections: Detections, reference, size: tuple[int, int]) -> None:
    """All detections are the same; those of nearly equal score may have changed places."""
    assert len(detections.scores) == len(reference["scores"]) >= 100
    np.testing.assert_allclose(detections.scores, reference["scores"], rtol=0, atol=TOLERANCE)
    height, width = size
    inside = np.clip(reference["boxes"], 0, [width, height, width, height])  # lufficc leaves boxes unclipped
    ours = np.column_stack([detections.boxes, detections.labels + 1])
    theirs = np.column_stack([inside, reference["labels"]])
    distance = np.abs(ours[:, None] - theirs[None]).max(axis=2)
    assert distance.min(axis=1).max() < 1e-2  # pixels: a box is e^(loc / 5) default boxes wide
    assert len(set(distance.argmin(axis=1).tolist())) == len(ours)
