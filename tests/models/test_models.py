"""The four networks: geometry, published sizes, weights from elsewhere."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from ssd_edge import boxes
from ssd_edge.errors import ModelError
from ssd_edge.models.catalogue import MODELS
from ssd_edge.models.mobilenet_v2 import MobileNetV2
from ssd_edge.models.mobilenet_v3 import MobileNetV3Large
from ssd_edge.models.networks import load_backbone, parameters
from ssd_edge.models.registry import architecture, make_network, make_spec
from ssd_edge.models.ssd import SSD
from ssd_edge.models.vgg16 import VGG16, L2Norm
from ssd_edge.preprocess import preprocess
from ssd_edge.spec import DefaultBoxLevel, ModelSpec
from ssd_edge.training.checkpoints import read_torch_file
from tests.helpers import shared, small_spec

NAMES = [pytest.param(name, marks=[pytest.mark.slow] * ("vgg16" in name)) for name in MODELS]


def network(name: str, classes: int = 2) -> SSD:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = make_network(make_spec(name, [f"class{k}" for k in range(classes)]))
    return made.eval().requires_grad_(False)


# --- order: row a of loc and logits belongs to default box a ------------------------------------------------------


class Maps(nn.Module):
    """Backbone that returns given feature maps."""

    def __init__(self, maps: list[torch.Tensor]) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, images):
        return list(self.maps)


def test_rows_are_level_row_column_box_value():
    """Grids are not square, and every number of the heads encodes its place."""
    spec = small_spec(
        levels=(
            DefaultBoxLevel((2, 3), (1 / 2, 1 / 3), ((0.1, 0.1), (0.2, 0.2))),
            DefaultBoxLevel((1, 2), (1.0, 1 / 2), ((0.5, 0.5), (0.6, 0.6), (0.7, 0.7))),
        )
    )

    def coded(level: int, values: int) -> torch.Tensor:
        rows, columns = spec.levels[level].grid
        count = len(spec.levels[level].sizes)
        code = torch.zeros(2, count * values, rows, columns)
        for index in np.ndindex(*code.shape):
            batch, channel, row, column = index
            box, value = divmod(channel, values)
            code[index] = batch * 1e5 + level * 1e4 + row * 1e3 + column * 1e2 + box * 10 + value
        return code

    def heads(values: int) -> list[nn.Module]:
        class Coded(nn.Module):
            def __init__(self, level: int) -> None:
                super().__init__()
                self.level = level

            def forward(self, x):
                return coded(self.level, values)

        return [Coded(0), Coded(1)]

    made = SSD(spec, Maps([torch.zeros(2, 1, 1, 1)] * 2), [], heads(4), heads(3))
    loc, logits = made(torch.zeros(2, 3, 8, 8))
    assert loc.shape == (2, 18, 4)
    assert logits.shape == (2, 18, 3)
    defaults = boxes.default_boxes(spec)
    for batch in range(2):
        for a in range(18):
            level, row, column, box = (int(loc[batch, a, 0]) // place % 10 for place in (10**4, 10**3, 10**2, 10))
            step_y, step_x = spec.levels[level].step
            wanted = [(column + 0.5) * step_x, (row + 0.5) * step_y, *spec.levels[level].sizes[box]]
            np.testing.assert_allclose(defaults[a], wanted, atol=1e-6)
            base = int(loc[batch, a, 0])
            assert loc[batch, a].tolist() == [base + value for value in range(4)]
            assert logits[batch, a].tolist() == [base + value for value in range(3)]


@pytest.mark.parametrize("name", NAMES)
def test_each_row_looks_at_its_own_cell_of_each_map(name):
    """The gradient of a row lies within the 3 × 3 neighbourhood of its default box's cell, for every grid."""
    made = network(name)
    spec = made.spec
    seen: list[torch.Tensor] = []

    def watch(_, inputs):
        seen.append(inputs[0].detach().requires_grad_())
        return (seen[-1],)

    for head in made.class_heads:
        head.register_forward_pre_hook(watch)
    height, width = spec.input_size
    images = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 3, height, width)).astype(np.float32))
    loc, logits = made(images)
    assert loc.shape == (1, spec.num_default_boxes, 4)
    assert logits.shape == (1, spec.num_default_boxes, 3)
    assert [(x.shape[2], x.shape[3]) for x in seen] == [level.grid for level in spec.levels]
    first = 0
    for level, x in zip(spec.levels, seen, strict=True):
        rows, columns = level.grid
        for row, column in {(0, 0), (0, columns - 1), (rows // 2, columns // 3), (rows - 1, columns // 2)}:
            for box in (0, len(level.sizes) - 1):
                a = first + (row * columns + column) * len(level.sizes) + box
                (gradient,) = torch.autograd.grad(logits[0, a].sum(), x, retain_graph=True)
                power = gradient[0].abs().sum(dim=0)
                touched = power.nonzero().numpy()
                assert len(touched)
                assert np.abs(touched - [row, column]).max() <= 1
                assert power[row, column] > 0
        first += level.count


@pytest.mark.parametrize("name", NAMES)
def test_a_spot_in_the_image_is_seen_by_the_boxes_that_lie_on_it(name):
    made = network(name)
    spec = made.spec
    level = spec.levels[0]
    centres = boxes.default_boxes(spec)[: level.count, :2]
    size = spec.input_size[0]
    step = round(level.step[0] * size)
    # BatchNorm with no bias gives 0 for 0, so any other output comes from the spot.
    black = made(torch.zeros(1, 3, size, size))[1]
    for x, y in ((0.25, 0.3), (0.8, 0.55))[: 1 if size == 512 else 2]:
        image = torch.zeros(1, 3, size, size)
        column, row = round(x * size) - step // 2, round(y * size) - step // 2
        image[:, :, row : row + step, column : column + step] = 3
        change = (made(image)[1] - black)[0, : level.count].abs().sum(dim=1).double().numpy()
        assert change.max() > 0
        seen = (change[:, None] ** 2 * centres).sum(axis=0) / (change**2).sum()
        np.testing.assert_allclose(seen, [x, y], atol=1.5 * level.step[0])


# --- published sizes ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ssd300_has_as_many_parameters_as_torchvisions():
    """torchvision documents 35,641,826 parameters for its ssd300_vgg16 with 91 classes."""
    with torch.device("meta"):
        assert parameters(make_network(make_spec("ssd300_vgg16", [str(k) for k in range(90)]))) == 35_641_826


@pytest.mark.parametrize(
    ("backbone", "published"),
    [
        # torchvision's documented totals less their classifiers (VGG16: 138,357,544 − 123,642,856).
        (lambda: VGG16().features, 138_357_544 - 123_642_856),
        (MobileNetV2, 3_504_872 - 1_281_000),
        (MobileNetV3Large, 5_483_032 - 2_511_080),
    ],
)
def test_backbones_have_the_published_size(backbone, published):
    with torch.device("meta"):
        assert parameters(backbone()) == published


def test_mobilenet_v3_names_and_shapes_are_torchvisions():
    """The names tested cover the kinds of blocks: no expansion, squeeze, a 5 × 5, the last convolution."""
    with torch.device("meta"):
        state = MobileNetV3Large().state_dict()
    for key, shape in {
        "features.0.0.weight": (16, 3, 3, 3),
        "features.0.1.running_var": (16,),
        "features.1.block.0.0.weight": (16, 1, 3, 3),
        "features.1.block.1.0.weight": (16, 16, 1, 1),
        "features.4.block.1.0.weight": (72, 1, 5, 5),
        "features.4.block.2.fc1.weight": (24, 72, 1, 1),
        "features.4.block.2.fc2.bias": (72,),
        "features.4.block.3.1.weight": (40,),
        "features.13.block.0.0.weight": (672, 112, 1, 1),
        "features.15.block.2.fc1.weight": (240, 960, 1, 1),
        "features.16.0.weight": (960, 160, 1, 1),
    }.items():
        assert tuple(state[key].shape) == shape
    assert {key.split(".")[0] for key in state} == {"features"}
    eps = {layer.eps for layer in MobileNetV3Large().modules() if isinstance(layer, nn.BatchNorm2d)}
    assert eps == {1e-3}


# --- other people's weights --------------------------------------------------------------------------------------

WEIGHTS = "weights/mobilenet_v2_imagenet/mobilenet_v2-b0353104.pth"


def test_mobilenet_v2_has_exactly_torchvisions_names_and_shapes():
    state = read_torch_file(shared(WEIGHTS))
    theirs = {key: tuple(value.shape) for key, value in state.items() if not key.startswith("classifier.")}
    with torch.device("meta"):
        assert {key: tuple(value.shape) for key, value in MobileNetV2().state_dict().items()} == theirs


def classify(backbone: nn.Module, state: dict[str, torch.Tensor], image: np.ndarray, spec: ModelSpec) -> int:
    with torch.no_grad():
        features = backbone.eval()(torch.from_numpy(preprocess(image, spec)))[-1]
        scores = features.mean(dim=(2, 3)) @ state["classifier.1.weight"].T + state["classifier.1.bias"]
    return int(scores.argmax())


@pytest.mark.parametrize(
    ("photo", "classes"),
    [
        ("chelsea.png", range(281, 288)),  # ImageNet's cats
        ("coffee.png", (504, 967, 968)),  # coffee mug, espresso, cup
    ],
)
def test_the_backbone_and_preprocess_classify_a_photo(photo, classes):
    """ImageNet's classifier runs on top of our features: wrong channels, mean or taps would give another class."""
    state = read_torch_file(shared(WEIGHTS))
    made = make_network(make_spec("ssdlite300_mobilenet_v2", ["object"]))
    load_backbone(made, state)
    spec = replace(made.spec, input_size=(224, 224))
    image = cv2.imread(str(shared(f"media/{photo}")))
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    assert classify(made.backbone, state, image[top : top + side, left : left + side], spec) in classes


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "ssd300_vgg16"])
def test_weights_of_another_architecture_are_refused(name):
    state = read_torch_file(shared(WEIGHTS))
    with pytest.raises(ModelError, match=f"do not fit the backbone of {name}") as error:
        load_backbone(network(name), state)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("state", [{}, {"features.0.0.weight": torch.zeros(1)}, {"model": 3}])
def test_weights_of_nothing_known_are_refused(state):
    for name in ("ssdlite300_mobilenet_v2", "ssd300_vgg16"):
        with pytest.raises(ModelError, match="do not fit"):
            load_backbone(network(name), state)


def vgg_features() -> dict[str, torch.Tensor]:
    """Make weights with torchvision's names: 13 convolutions at these places of ``features``."""
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    channels = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    state = {}
    for k, place in enumerate(places):
        state[f"features.{place}.weight"] = torch.full((channels[k + 1], channels[k], 3, 3), float(k + 1))
        state[f"features.{place}.bias"] = torch.full((channels[k + 1],), -float(k + 1))
    return state


def test_vggs_first_map_is_after_the_relu_of_conv4_3():
    maps = network("ssd300_vgg16").backbone(torch.randn(1, 3, 64, 64))
    assert [tuple(x.shape) for x in maps] == [(1, 512, 8, 8), (1, 1024, 4, 4)]
    for x in maps:
        assert x.min() == 0
        assert x.max() > 0


def test_vgg_takes_torchvisions_features():
    made = network("ssd300_vgg16")
    fc6 = made.backbone.fc6.weight.clone()
    load_backbone(made, vgg_features())
    assert made.backbone.features[0].weight[5, 1, 2, 2] == 1
    assert made.backbone.features[28].bias[0] == -13
    assert torch.equal(made.backbone.fc6.weight, fc6)  # no classifier in the file: fc6 stays


@pytest.mark.slow
def test_vgg_thins_the_classifier_into_fc6_and_fc7():
    """Each number encodes its place: kept are output 4·o, row 3·r, column 3·c (à trous: 7 × 7 → 3 × 3)."""
    output = torch.arange(4096, dtype=torch.float32)
    fc6 = torch.zeros(4096, 512, 7, 7)
    fc6 += output.view(-1, 1, 1, 1) * 100
    fc6 += torch.arange(7.0).view(1, 1, 7, 1) * 10 + torch.arange(7.0)
    fc7 = output.view(-1, 1) + output / 4096
    state = vgg_features() | {
        "classifier.0.weight": fc6.view(4096, 512 * 49),
        "classifier.0.bias": output,
        "classifier.3.weight": fc7,
        "classifier.3.bias": -output,
    }
    backbone = VGG16()
    backbone.load(state)
    got = backbone.fc6.weight.detach()
    assert got.shape == (1024, 512, 3, 3)
    assert got[1, 7].tolist() == [[400 + 30 * r + 3 * c for c in range(3)] for r in range(3)]
    assert torch.equal(backbone.fc6.bias.detach(), output[::4])
    assert backbone.fc7.weight[2, 3, 0, 0] == fc7[8, 12]
    assert torch.equal(backbone.fc7.bias.detach(), -output[::4])


# --- numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_black_frame_is_finite(name):
    made = network(name)
    loc, logits = made(torch.from_numpy(preprocess(np.zeros((48, 64, 3), np.uint8), made.spec)))
    assert torch.isfinite(loc).all()
    assert torch.isfinite(logits).all()


def test_l2norm_is_twenty_long_and_zero_for_zero():
    x = torch.randn(2, 8, 3, 3)
    x[0, :, 0, 0] = 0
    length = L2Norm(8)(x).detach().norm(dim=1)
    assert length[0, 0, 0] == 0
    length[0, 0, 0] = 20
    torch.testing.assert_close(length, torch.full_like(length, 20.0))
    x.requires_grad_()
    L2Norm(8)(x).sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", ["ssdlite300_mobilenet_v2", "ssdlite320_mobilenet_v3_large"])
def test_a_batch_is_its_images_one_by_one(name):
    made = network(name)
    images = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (2, 3, 96, 96)).astype(np.float32))
    loc, logits = made(images)
    for k in range(2):
        one_loc, one_logits = made(images[k : k + 1])
        torch.testing.assert_close(loc[k], one_loc[0], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(logits[k], one_logits[0], rtol=1e-3, atol=1e-5)


# --- the registry ------------------------------------------------------------------------------------------------


def test_a_model_that_is_not_there():
    with pytest.raises(ModelError, match=r"no model is called 'yolo'; there are ssdlite300_mobilenet_v2, .*ssd512"):
        make_spec("yolo", ["object"])
    with pytest.raises(ModelError, match="no model is called 'imported'"):
        make_network(small_spec(architecture="imported"))


def test_a_size_table_that_is_not_there():
    with pytest.raises(ModelError, match="has default-box sizes voc, coco, paper, but not 'tiny'"):
        make_spec("ssd300_vgg16", ["object"], "tiny")


@pytest.mark.parametrize("name", MODELS)
def test_heads_grow_with_the_classes(name):
    with torch.device("meta"):
        one, many = (make_network(make_spec(name, [str(k) for k in range(n)])) for n in (1, 20))
    per_level = [len(level.sizes) for level in one.spec.levels]
    for made, classes in ((one, 2), (many, 21)):
        last = [list(head.modules())[-1] for head in made.class_heads]
        assert [layer.out_channels for layer in last] == [classes * n for n in per_level]
        assert [list(head.modules())[-1].out_channels for head in made.loc_heads] == [4 * n for n in per_level]


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("ssdlite300_mobilenet_v2", 0.6),  # iou_threshold of TensorFlow's ssdlite_mobilenet_v2_coco
        ("ssdlite320_mobilenet_v3_large", 0.55),  # torchvision's nms_thresh
        ("ssd300_vgg16", 0.45),  # arXiv 1512.02325 v5, section 3.7
        ("ssd512_vgg16", 0.45),
    ],
)
def test_overlap_of_duplicates_is_the_published_one_of_each_model(name: str, published: float) -> None:
    assert make_spec(name, ["thing"]).nms_iou == published
    assert make_spec(name, ["thing"], input_size=architecture(name).input_size).nms_iou == published
