"""The loop's FPS as a share of the bare engine's, both measured in turns in one run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from building import SSDLITE300
from figure import Figure

from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.export import export_onnx
from ssd_edge.loop.benchmark import benchmark
from ssd_edge.machine.summary import summary
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.models.ssd import SSD
from ssd_edge.stream.sources import open_source
from ssd_edge.training.checkpoints import load_checkpoint


def measure() -> Figure:
    """Measure the SSDLite of 300x300 and an untrained SSD300-VGG16, FP32 on OpenVINO, with scores from 0.5 on.

    There are many short rounds, so that other work on the machine slows engine and loop alike.
    """
    torch.manual_seed(0)
    networks = {
        "ssdlite300_mobilenet_v2": (load_checkpoint(SSDLITE300), 100, 15),
        "ssd300_vgg16": (_sure_of_background(make_network(make_spec("ssd300_vgg16", ["a", "b", "c"]))), 20, 3),
    }
    detail = {}
    for name, (network, frames, rounds) in networks.items():
        with tempfile.TemporaryDirectory() as scratch:
            onnx, bundle = Path(scratch) / "heads.onnx", Path(scratch) / "heads.engine"
            export_onnx(network.eval(), onnx)
            build_bundle(onnx, bundle, "openvino")
            engine = load_bundle(bundle)
            source = open_source("synthetic", realtime=False)
            times = benchmark({name: engine}, source, frames=frames, warmup=5, rounds=rounds)[0]
            engine.close()
        detail[name] = {"efficiency": times.efficiency, "loop FPS": times.loop_fps, "engine FPS": times.engine_fps}
    value = min(one["efficiency"] for one in detail.values())
    return Figure(
        "loop-efficiency",
        value,
        "loop FPS / engine FPS, the lower of two models",
        ">= 0.95",
        value >= 0.95,
        {**detail, "machine": summary()},
        "; ".join(
            f"{name} {one['efficiency']:.2f} ({one['loop FPS']:.0f} of {one['engine FPS']:.0f} FPS)"
            for name, one in detail.items()
        ),
    )


def _sure_of_background(network: SSD) -> SSD:
    """Make random weights predict background, as a trained network mostly does; otherwise everything is an object."""
    with torch.no_grad():
        for head, level in zip(network.class_heads, network.spec.levels, strict=True):
            bias = torch.zeros(len(level.sizes), network.spec.num_classes)
            bias[:, 0] = 8.0
            head.bias.copy_(bias.flatten())
    return network
