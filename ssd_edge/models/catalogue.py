"""The published models by name, for help texts and to find them; ``registry`` holds what they are."""

from __future__ import annotations

from ssd_edge.choices import Choice

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

DEFAULT_MODEL = "ssdlite300_mobilenet_v2"
