"""The models by name, and what users write of them, without NumPy; ``registry`` and ``imported`` hold what they are."""

from __future__ import annotations

from ssd_edge.choices import Choice
from ssd_edge.errors import ModelError
from ssd_edge.parsing import parse_size

_HERE = "ssd_edge.models.registry"

MODELS: dict[str, Choice] = {
    "ssdlite300_mobilenet_v2": Choice(
        "1917 boxes; the smallest and fastest: start here", f"{_HERE}:SSDLITE300_MOBILENET_V2"
    ),
    "ssdlite320_mobilenet_v3_large": Choice(
        "3234 boxes; a newer backbone, for objects from a seventh of the image's sides on",
        f"{_HERE}:SSDLITE320_MOBILENET_V3_LARGE",
    ),
    "ssd300_vgg16": Choice(
        "8732 boxes; the paper's model: small objects, twenty times the work", f"{_HERE}:SSD300_VGG16"
    ),
    "ssd512_vgg16": Choice("24564 boxes; the most exact, for hardware that can afford it", f"{_HERE}:SSD512_VGG16"),
}
"""The models; each place holds an ``Architecture``."""

_ELSEWHERE = "ssd_edge.models.imported"

IMPORTED: dict[str, Choice] = {
    "ssdlite320_mobilenet_v3_torchvision": Choice(
        "torchvision's with an ImageNet backbone", f"{_ELSEWHERE}:SSDLITE320_MOBILENET_V3_TORCHVISION"
    ),
    "ssdlite320_mobilenet_v3_reduced": Choice(
        "torchvision's with its COCO weights", f"{_ELSEWHERE}:SSDLITE320_MOBILENET_V3_REDUCED"
    ),
    "ssdlite300_mobilenet_v2_tensorflow": Choice(
        "that of TensorFlow's Object Detection API", f"{_ELSEWHERE}:SSDLITE300_MOBILENET_V2_TENSORFLOW"
    ),
    "ssd300_vgg16_batchnorm": Choice("qfgaohao's vgg16-ssd", f"{_ELSEWHERE}:SSD300_VGG16_BATCHNORM"),
    "mb2_ssd_lite": Choice("qfgaohao's mb2-ssd-lite", f"{_ELSEWHERE}:MB2_SSD_LITE"),
    "ultraface_rfb320": Choice("UltraFace RFB-320, for faces", f"{_ELSEWHERE}:ULTRAFACE_RFB320"),
}
"""Networks that differ from those of ``MODELS`` in layers, padding or BatchNorm settings; ``import`` makes them."""

DEFAULT_MODEL = "ssdlite300_mobilenet_v2"

FIT = "fit"
"""In place of the name of a size table: sizes fitted to the data set by ``ssd_edge.data.box_fit``."""


def parse_input(text: str) -> tuple[int, int] | None:
    """Read an input size that a user gives, WIDTHxHEIGHT, as (height, width); "" as None, the published one.

    Raises:
        ModelError: it is no size.
    """
    try:
        return parse_size(text) if text else None
    except ValueError as error:
        raise ModelError(f"the input's size cannot be read: {error}") from None
