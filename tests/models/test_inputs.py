"""Networks with an input of another size: default boxes follow the feature maps, and squares stay squares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge import boxes
from ssd_edge.errors import ModelError, SpecError
from ssd_edge.models.catalogue import MODELS, parse_input
from ssd_edge.models.registry import INPUT_STEP, architecture, make_network, make_spec
from ssd_edge.models.ssd import SSD
from ssd_edge.parsing import as_text
from ssd_edge.spec import ModelSpec

SSDLITES = [name for name in MODELS if architecture(name).strides]
WIDE, TALL = (160, 256), (256, 160)

sides = st.integers(1, 12).map(lambda steps: steps * INPUT_STEP)


def maps_of(network: SSD, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Run a network on the meta device, and return rows and columns of its feature maps."""
    seen: list[tuple[int, int]] = []
    hooks = [
        head.register_forward_pre_hook(lambda _, given: seen.append((given[0].shape[2], given[0].shape[3])))
        for head in network.loc_heads
    ]
    network(torch.zeros(1, 3, *size, device="meta"))
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("name", SSDLITES)
def test_grids_are_the_feature_maps(name):
    """A spec with the sides swapped has as many default boxes, so their number alone does not tell."""
    with torch.device("meta"):
        network = make_network(make_spec(name, ["a"])).eval()
    for size in (WIDE, TALL, (32, 32), (96, 64), (288, 512), (32, 480)):
        spec = make_spec(name, ["a"], input_size=size)
        assert maps_of(network, size) == [level.grid for level in spec.levels]
    wide, tall = (make_spec(name, ["a"], input_size=size) for size in (WIDE, TALL))
    assert wide.num_default_boxes == tall.num_default_boxes
    with pytest.raises(
        SpecError, match=r"grids are \[rows, columns\] and input_size is \[height, width\], so the long"
    ):
        replace(wide, levels=tall.levels)
    assert maps_of(network, TALL) != [level.grid for level in wide.levels]


def tensorflow_anchors(spec: ModelSpec, scales: list[list[tuple[float, float]]]) -> np.ndarray:
    """Compute anchors as TensorFlow's ``MultipleGridAnchorGenerator`` and ``tile_anchors`` do, (A, 4) cxcywh.

    ``base_anchor_size`` is [1, 1], ``anchor_strides`` and ``anchor_offsets`` are None. Scales are (scale, ratio).
    """
    height, width = spec.input_size
    base_height, base_width = min(height, width) / height, min(height, width) / width
    anchors = []
    for level, level_scales in zip(spec.levels, scales, strict=True):
        rows, columns = level.grid
        for y in range(rows):
            for x in range(columns):
                for scale, ratio in level_scales:
                    root = ratio**0.5
                    centre = (x / columns + 0.5 / columns, y / rows + 0.5 / rows)
                    anchors.append([*centre, scale * root * base_width, scale / root * base_height])
    return np.asarray(anchors)


@given(sides, sides)
@settings(deadline=None, max_examples=8)
def test_default_boxes_are_tensorflows_anchors(height, width):
    """``ssd_anchor_generator`` of the published ssdlite_mobilenet_v2: 0.2 … 0.95, three boxes in the finest cells.

    The order within a cell is this project's own. Tolerance: float32 of values up to 2.
    """
    scales = [*np.linspace(0.2, 0.95, 6).tolist(), 1.0]
    wanted = [[(0.1, 1.0), (0.2, 2.0), (0.2, 0.5)]]
    for k in range(1, 6):
        plain = [(scales[k], ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1 / 3)]
        wanted.append([plain[0], ((scales[k] * scales[k + 1]) ** 0.5, 1.0), *plain[1:]])
    spec = make_spec("ssdlite300_mobilenet_v2", ["a"], input_size=(height, width))
    np.testing.assert_allclose(boxes.default_boxes(spec), tensorflow_anchors(spec, wanted), atol=4e-7)


@pytest.mark.parametrize("name", SSDLITES)
@given(height=sides, width=sides)
@settings(deadline=None, max_examples=8)
def test_a_square_object_matches_a_square_default_box(name, height, width):
    """An object of its very place and size in pixels has an IoU of 1 with it; all boxes keep their shape in pixels."""
    spec, usual = make_spec(name, ["a"], input_size=(height, width)), make_spec(name, ["a"])
    shorter = min(height, width)
    for level, published in zip(spec.levels, usual.levels, strict=True):
        pixels = np.asarray(level.sizes) * [width, height]
        np.testing.assert_allclose(pixels / shorter, published.sizes, rtol=1e-12)
    side = spec.levels[0].sizes[0][0] * width
    centre = np.asarray([width / spec.levels[0].grid[1], height / spec.levels[0].grid[0]]) / 2
    square = np.concatenate([centre - side / 2, centre + side / 2]) / [width, height, width, height]
    overlap = boxes.iou(square.astype(np.float32)[None], boxes.to_xyxy(boxes.default_boxes(spec))[:1])
    assert overlap[0] > 1 - 1e-5


def test_the_published_input_keeps_the_published_boxes():
    for name in MODELS:
        usual = make_spec(name, ["a"])
        assert make_spec(name, ["a"], input_size=usual.input_size) == usual


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("ssdlite300_mobilenet_v2", "500x280", "but got 500x280: the nearest are 512x288, 480x288, 512x256, 480x256"),
        ("ssdlite300_mobilenet_v2", "512x280", "but got 512x280: the nearest are 512x288, 512x256"),
        ("ssdlite300_mobilenet_v2", "9x99999", "but got 9x99999: the nearest is 32x4096"),
        ("ssdlite320_mobilenet_v3_large", "300x300", "takes an input of 320x320, or one whose width and height are"),
        ("ssd300_vgg16", "512x288", "only, but got 512x288: the nearest is 300x300, or train ssdlite300_mobilenet_v2"),
        ("ssd300_vgg16", "513x287", "takes an input of 300x300 only, but got 513x287: the nearest is 300x300$"),
        ("ssd512_vgg16", "300x300", "or train ssdlite300_mobilenet_v2 or ssd300_vgg16, which take 300x300$"),
    ],
)
def test_an_input_that_the_network_cannot_take(name, text, sentence):
    with pytest.raises(ModelError, match=sentence):
        make_spec(name, ["a"], input_size=parse_input(text))


@given(st.integers(1, 99999), st.integers(1, 99999))
def test_a_size_is_width_and_then_height(width, height):
    assert parse_input(f"{width}x{height}") == (height, width)
    assert as_text((height, width)) == f"{width}x{height}"


@pytest.mark.parametrize(
    "text", ["512", "512x", "x288", "512x288x3", "0x32", "-32x32", "512*288", "5e2x288", "１６x16"]
)
def test_what_is_no_size(text):
    assert parse_input("") is None
    assert parse_input(" 512X288 ") == parse_input("512×288") == (288, 512)
    with pytest.raises(ModelError, match="a size is WIDTHxHEIGHT in pixels, such as 512x288, but got"):
        parse_input(text)
