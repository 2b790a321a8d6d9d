"""Write a folder for DeepStream's nvinfer: configuration, plan, labels, and the source of a parser for the outputs.

Keys: https://docs.nvidia.com/metropolis/deepstream/dev-guide/text/DS_plugin_gst-nvinfer.html and
``gstnvinfer_property_parser.h`` of DeepStream. nvinfer writes its input as FP32 planes whatever the plan's type is, and
takes outputs without their batch (``nvdsinfer_func_utils.cpp``): hence the FP32 image and the (B, 1) counts of a plan.
"""

from __future__ import annotations

from pathlib import Path

from ssd_edge.engines.deploy.plan import Deployable, write
from ssd_edge.engines.plugins.decode_graph import result_tensors
from ssd_edge.engines.plugins.library_plugin import NAME as LIBRARY
from ssd_edge.errors import BackendError
from ssd_edge.spec import ModelSpec

CONFIGURATION = "config_infer_primary.txt"
PARSER = "nvdsinfer_ssd_edge.cpp"
PARSER_LIBRARY = "libnvdsinfer_ssd_edge.so"
_SOURCE = Path(__file__).with_name("parser.cpp")

_NETWORK_MODE = {"FP32": 0, "INT8": 1, "FP16": 2}

MOST_APART = 0.02
"""Largest allowed error of a channel's contrast; nvinfer has one scale for all three. ImageNet's std gives 0.011."""


def export(model: Deployable, folder: Path) -> Path:
    """Write the folder.

    Raises:
        BackendError: nvinfer cannot prepare this model's input, or the folder is not empty.
    """
    texts = {
        CONFIGURATION: config(model),
        "labels.txt": model.labels,
        PARSER: _SOURCE.read_text(encoding="utf-8"),
        "README.md": page(model),
    }
    write(folder, texts, {"model.plan": model.file})
    return folder


def scale(spec: ModelSpec) -> tuple[float, float]:
    """Compute nvinfer's ``net-scale-factor``, and the largest relative error of a channel's contrast with it.

    Raises:
        BackendError: the channels are too far apart for one scale.
    """
    low, high = min(spec.std), max(spec.std)
    off = (high - low) / (high + low)
    if off > MOST_APART:
        raise BackendError(
            f"nvinfer scales all channels by one number, and this model's std is {', '.join(map(str, spec.std))}: "
            "serve it with --to triton, whose client can do it"
        )
    return 2 / (low + high), off


def config(model: Deployable) -> str:
    """Format ``config_infer_primary.txt``.

    Raises:
        BackendError: the channels are too far apart for nvinfer's one scale.
    """
    spec = model.spec
    factor, off = scale(spec)
    properties = {
        "gpu-id": 0,
        "gie-unique-id": 1,
        "process-mode": 1,
        "network-type": 0,
        "network-mode": _NETWORK_MODE[model.plan.precision],
        "model-engine-file": "model.plan",
        "batch-size": model.max_batch,
        "labelfile-path": "labels.txt",
        "num-detected-classes": len(spec.labels),
        "net-scale-factor": f"{factor:.9g}",
        "offsets": ";".join(map(str, spec.mean)),
        "model-color-format": 0 if spec.channel_order == "rgb" else 1,
        "maintain-aspect-ratio": 0,
        "scaling-filter": 1,
        "output-blob-names": ";".join(result_tensors(spec, 1)),
        "custom-lib-path": f"./{PARSER_LIBRARY}",
        "parse-bbox-func-name": "NvDsInferParseCustomSsdEdge",
        "cluster-mode": 4,
    }
    if "dla_core" in model.plan.facts:
        properties |= {"enable-dla": 1, "use-dla-core": model.plan.facts["dla_core"]}
    comment = f"# nvinfer has one scale: contrast is off by {off:.1%} in a channel, at most.\n" if off else ""
    lines = [f"{key}={value}" for key, value in properties.items()]
    attributes = f"[class-attrs-all]\npre-cluster-threshold={spec.score_threshold}\n"
    for number, label in enumerate(spec.labels):
        if label in spec.operating_scores:
            attributes += f"\n[class-attrs-{number}]\npre-cluster-threshold={spec.operating_scores[label]:.6g}\n"
    return f"{comment}[property]\n" + "\n".join(lines) + f"\n\n{attributes}"


def page(model: Deployable) -> str:
    """Format the page on how to build the parser and try it."""
    preload = f"LD_PRELOAD=$PWD/{LIBRARY} " if model.needs_library else ""
    library = (
        f"\nThe decode nodes come from `{LIBRARY}`, built on the device (docs/engines.md of ssd-edge says how) and put "
        "here.\n"
        if model.needs_library
        else ""
    )
    return f"""\
# {model.name} in DeepStream

Made by `ssd-edge export-deploy`. The plan is {model.built_for}: it needs a DeepStream with
that TensorRT, on that GPU. No device has run this yet.

    g++ -std=c++17 -O2 -Wall -fPIC -shared -I/opt/nvidia/deepstream/deepstream/sources/includes \\
        -I/usr/local/cuda/include {PARSER} -o {PARSER_LIBRARY}
{library}
    {preload}gst-launch-1.0 filesrc location=video.mp4 ! qtdemux ! h264parse ! nvv4l2decoder ! m.sink_0 \\
        nvstreammux name=m batch-size={model.max_batch} width=1280 height=720 ! \\
        nvinfer config-file-path={CONFIGURATION} ! nvvideoconvert ! nvdsosd ! nvvideoconvert ! fakesink

{_cameras(model)}
nvinfer resizes frames with an algorithm of its own, so detections are close to those of `ssd-edge run`, not the same
bits. Decode and suppression of duplicates are in the plan: `cluster-mode=4` adds none.
"""


def _cameras(model: Deployable) -> str:
    """Say how many sources the plan takes in one batch."""
    if model.max_batch == 1:
        return (
            "The plan takes one frame at a time. For several cameras in one batch, build it with\n"
            "`--max-batch CAMERAS` and export it again.\n"
        )
    return (
        f"The plan takes up to {model.max_batch} frames at a time: connect that many sources, to `m.sink_0` up to\n"
        f"`m.sink_{model.max_batch - 1}`, and set `live-source=1 batched-push-timeout=40000` (microseconds) on\n"
        "`nvstreammux` for cameras, so that a batch does not wait for a camera that is late.\n"
    )
