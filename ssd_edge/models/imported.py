"""Networks that other projects define and the published models do not: what ``ssd-edge import`` makes."""

from __future__ import annotations

from ssd_edge.boxes import SSD300_VOC_SIZES, no_larger_than_the_image, published_levels
from ssd_edge.models.registry import (
    SSD300_GRIDS,
    SSD300_RATIOS,
    SSDLITE_STRIDES,
    TENSORFLOW_NMS_IOU,
    TORCHVISION_NMS_IOU,
    Architecture,
    network,
    ssdlite300_levels,
    ssdlite320_levels,
)
from ssd_edge.spec import DefaultBoxLevel

_MB2_GRIDS = ((19, 10, 5, 3, 2, 1), (16, 32, 64, 100, 150, 300))
_MB2_SIZES = (60.0, 105.0, 150.0, 195.0, 240.0, 285.0, 330.0)


def _ultraface_levels() -> tuple[DefaultBoxLevel, ...]:
    """Make levels of square boxes of so many pixels of a 320 × 240 image (vision/ssd/config/fd_config.py)."""
    grids = ((30, 40), (15, 20), (8, 10), (4, 5))
    sides = ((10, 16, 24), (32, 48), (64, 96), (128, 192, 256))
    levels = (
        DefaultBoxLevel((rows, columns), (1 / rows, 1 / columns), tuple((side / 320, side / 240) for side in level))
        for (rows, columns), level in zip(grids, sides, strict=True)
    )
    return no_larger_than_the_image(tuple(levels))


SSDLITE320_MOBILENET_V3_TORCHVISION = Architecture(
    (320, 320),
    {"torchvision": no_larger_than_the_image(ssdlite320_levels())},
    network("ssdlite_mobilenet_v3_torchvision"),
    SSDLITE_STRIDES,
    TORCHVISION_NMS_IOU,
)
SSDLITE320_MOBILENET_V3_REDUCED = Architecture(
    (320, 320),
    {"torchvision": no_larger_than_the_image(ssdlite320_levels())},
    network("ssdlite_mobilenet_v3_reduced"),
    SSDLITE_STRIDES,
    TORCHVISION_NMS_IOU,
)
SSDLITE300_MOBILENET_V2_TENSORFLOW = Architecture(
    (300, 300),
    {"mobilenet": ssdlite300_levels()},
    network("ssdlite_mobilenet_v2_tensorflow"),
    SSDLITE_STRIDES,
    TENSORFLOW_NMS_IOU,
)
SSD300_VGG16_BATCHNORM = Architecture(
    (300, 300),
    {"voc": published_levels(300, *SSD300_GRIDS, SSD300_VOC_SIZES, SSD300_RATIOS)},
    network("ssd300_vgg16_batchnorm"),
)
MB2_SSD_LITE = Architecture(
    (300, 300),
    {"mobilenet": published_levels(300, *_MB2_GRIDS, _MB2_SIZES, ((2, 3),) * 6)},
    network("mb2_ssd_lite", "mb2_ssd_lite"),
    SSDLITE_STRIDES,
)
ULTRAFACE_RFB320 = Architecture(
    (240, 320), {"faces": _ultraface_levels()}, network("ultraface_rfb", "ultraface"), (8, 16, 32, 64), nms_iou=0.3
)
