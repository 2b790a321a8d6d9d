"""Make ``references/*.npz``: what other projects' own code computes with the weights of ``formula``.

    python make_references.py torchvision
    python make_references.py amdegroot FOLDER_OF_ssd.pytorch
    python make_references.py lufficc FOLDER_OF_SSD
    python make_references.py qfgaohao FOLDER_OF_pytorch-ssd

It runs in an environment of its own: torch 2.14.1, torchvision 0.29.1, opencv-python-headless, yacs. A file holds names
and shapes of the project's tensors, some rows of its heads and of its default boxes, and its detections if its code
still gives any. All is computed in float64, so that a difference is one of layers and not of rounding.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import torch
from formula import picture, weights

CLASSES = 4
ROWS = 211  # prime, so that rows of all cells and boxes are among those kept
HERE = Path(__file__).parent / "references"


def fill(network) -> dict[str, list[int]]:
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights(shapes).items()})
    network.double().eval()
    return shapes


def write(name, network_shapes, loc, logits, priors, **others) -> None:
    """Write rows of (A, 4) loc, (A, C) logits, and (A, 4) default boxes."""
    every = max(1, len(loc) // ROWS)
    kept = sorted({*range(0, len(loc), every), *range(len(loc) - 20, len(loc))})
    arrays = {"loc": loc, "logits": logits, "priors": priors}
    np.savez_compressed(
        HERE / f"{name}.npz",
        shapes=np.frombuffer(json.dumps(network_shapes).encode(), np.uint8),
        rows=np.asarray(kept),
        **{key: np.asarray(array.detach(), np.float32)[kept] for key, array in arrays.items()},
        **{
            key: np.asarray(array.detach().numpy(), np.int64 if key == "labels" else np.float32)
            for key, array in others.items()
        },
    )
    print(name, len(loc), "rows", float(loc.std()), float(logits.std()), (HERE / f"{name}.npz").stat().st_size, "bytes")


def torchvision() -> None:
    from torchvision.models import detection

    def ssdlite(tail):
        if tail == "reduced":
            return detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
        from torchvision.models.detection import ssdlite as module

        usual = module.mobilenet_v3_large
        module.mobilenet_v3_large = lambda **options: usual(**{**options, "weights": None, "reduced_tail": False})
        try:
            return detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
        finally:
            module.mobilenet_v3_large = usual

    networks = {
        "torchvision_ssd300": detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=CLASSES),
        "torchvision_ssdlite_reduced": ssdlite("reduced"),
        "torchvision_ssdlite_whole": ssdlite("whole"),
    }
    for name, network in networks.items():
        shapes = fill(network)
        side = network.transform.fixed_size[0]
        image = torch.from_numpy(picture(side, side)).permute(2, 0, 1).double() / 255
        with torch.no_grad():
            (found,) = network([image])
            images, _ = network.transform([image])
            maps = list(network.backbone(images.tensors).values())
            heads = network.head(maps)
            (corners,) = network.anchor_generator(images, maps)
        write(name, shapes, heads["bbox_regression"][0], heads["cls_logits"][0], corners / side, **found)


def subtract(side: int, mean: float | tuple[float, ...], std: float) -> torch.Tensor:
    pixels = (picture(side, side).astype(np.float64) - np.asarray(mean)) / std
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def amdegroot() -> None:
    torch.autograd.Variable = lambda value, **_: value
    spec = importlib.util.spec_from_file_location("data", Path(sys.argv[2]) / "data/config.py")
    sys.modules["data"] = importlib.util.module_from_spec(spec)  # in place of a package that asks for COCO's files
    spec.loader.exec_module(sys.modules["data"])
    from ssd import build_ssd

    network = build_ssd("train", 300, 21)
    shapes = fill(network)
    with torch.no_grad():
        loc, logits, priors = network(subtract(300, (123, 117, 104), 1))
    write("amdegroot_ssd300", shapes, loc[0], logits[0], priors)


def lufficc() -> None:
    import torchvision

    torchvision.__version__ = "9"  # it compares versions as texts, and takes 0.29 for older than 0.3
    from ssd.config import cfg
    from ssd.modeling.detector import build_detection_model

    for size in (300, 512):
        cfg.defrost()
        cfg.merge_from_file(str(Path(sys.argv[2]) / f"configs/vgg_ssd{size}_voc0712.yaml"))
        cfg.MODEL.NUM_CLASSES, cfg.MODEL.BACKBONE.PRETRAINED, cfg.MODEL.DEVICE = CLASSES, False, "cpu"
        network = build_detection_model(cfg)
        shapes = fill(network)
        with torch.no_grad():
            image = subtract(size, (123, 117, 104), 1)
            logits, loc = network.box_head.predictor(network.backbone(image))
            (found,), _ = network.box_head(network.backbone(image))
        priors = network.box_head.priors
        detections = {key: found[key] for key in ("boxes", "scores", "labels")}
        write(f"lufficc_ssd{size}", shapes, loc[0], logits[0], priors, **detections)


def qfgaohao() -> None:
    from vision.ssd.config import mobilenetv1_ssd_config, vgg_ssd_config
    from vision.ssd.mobilenet_v2_ssd_lite import create_mobilenetv2_ssd_lite
    from vision.ssd.vgg_ssd import create_vgg_ssd

    for name, make, config in (
        ("qfgaohao_vgg16_ssd", create_vgg_ssd, vgg_ssd_config),
        ("qfgaohao_mb2_ssd_lite", create_mobilenetv2_ssd_lite, mobilenetv1_ssd_config),
    ):
        network = make(CLASSES)
        shapes = fill(network)
        with torch.no_grad():
            logits, loc = network(subtract(300, tuple(config.image_mean), config.image_std))
        write(name, shapes, loc[0], logits[0], config.priors)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.path.insert(0, sys.argv[2])
    HERE.mkdir(exist_ok=True)
    {"torchvision": torchvision, "amdegroot": amdegroot, "lufficc": lufficc, "qfgaohao": qfgaohao}[sys.argv[1]]()
