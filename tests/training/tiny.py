"""A detector that trains in a second."""

from __future__ import annotations

from torch import Tensor, nn

from ssd_edge.models.layers import conv_bn
from ssd_edge.models.registry import Architecture
from ssd_edge.models.ssd import SSD
from ssd_edge.spec import ModelSpec
from ssd_edge.training.recipe import Optimiser, Recipe
from tests.helpers import small_spec


class TinyBackbone(nn.Module):
    """A backbone that turns 32 × 32 pixels into one feature map of 4 × 4."""

    channels = (16,)

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv_bn(3, 8, stride=2), conv_bn(8, 16, stride=2), conv_bn(16, 16, stride=2))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.features(images)]

    def load(self, state: dict[str, Tensor]) -> None:
        self.load_state_dict(state)


def tiny_network(spec: ModelSpec) -> SSD:
    boxes = [len(level.sizes) for level in spec.levels]
    loc = [nn.Conv2d(16, 4 * n, 3, padding=1) for n in boxes]
    classes = [nn.Conv2d(16, spec.num_classes * n, 3, padding=1) for n in boxes]
    return SSD(spec, TinyBackbone(), [conv_bn(16, 16, stride=2)], loc, classes)


class PlainBackbone(TinyBackbone):
    """The same without BatchNorm, whose statistics depend on how images are divided into batches."""

    def __init__(self) -> None:
        super().__init__()
        steps = [(3, 8), (8, 16), (16, 16)]
        self.features = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU()) for a, b in steps)
        )


def plain_network(spec: ModelSpec) -> SSD:
    network = tiny_network(spec)
    extra = nn.Sequential(nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU())
    return SSD(spec, PlainBackbone(), [extra], list(network.loc_heads), list(network.class_heads))


PLAIN = Architecture((32, 32), {"only": small_spec().levels}, plain_network)
TINY = Architecture((32, 32), {"only": small_spec().levels}, tiny_network, strides=(8, 16))
"""56 default boxes; takes inputs of other sizes too."""

RECIPE = Recipe(
    model="tiny", epochs=2, batch_size=4, validate_every=1, workers=0, precision="32-true", optimiser=Optimiser(lr=0.01)
)
"""Settings of a training that takes a second."""
