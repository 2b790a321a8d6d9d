"""The projects whose detectors can be imported, by the name that ``import --from`` takes."""

from __future__ import annotations

from ssd_edge.choices import Choice

_HERE = "ssd_edge.starts"

SOURCES: dict[str, Choice] = {
    "torchvision": Choice("its ssd300_vgg16 and ssdlite320_mobilenet_v3_large", f"{_HERE}.torchvision:TORCHVISION"),
    "amdegroot": Choice("SSD300 of amdegroot/ssd.pytorch, SSD512 of its forks", f"{_HERE}.ssd_pytorch:AMDEGROOT"),
    "lufficc": Choice("SSD300 and SSD512 on VGG of lufficc/SSD", f"{_HERE}.ssd_pytorch:LUFFICC"),
    "qfgaohao": Choice("mb2-ssd-lite and vgg16-ssd of qfgaohao/pytorch-ssd", f"{_HERE}.qfgaohao:QFGAOHAO"),
    "tf-graph": Choice(
        "a frozen graph of the SSDLite with MobileNetV2 of TensorFlow's Object Detection API",
        f"{_HERE}.tf_graph:TF_GRAPH",
    ),
    "ultraface": Choice("UltraFace RFB-320, .pth", f"{_HERE}.ultraface:ULTRAFACE"),
}
"""Each place holds a ``Source``."""
