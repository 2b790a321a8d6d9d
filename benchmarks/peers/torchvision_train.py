"""Train torchvision's SSDLite for a budget of processor time, and print its detections as JSON.

Runs in an environment of its own, which has torchvision and not ssd-edge. The recipe is that of torchvision's
references/detection for ssdlite320_mobilenet_v3_large, its length and learning rate scaled to the budget and batch.
"""

from __future__ import annotations

import json
import math
import sys
import time

import torch
from torchvision import models
from torchvision.io import ImageReadMode, decode_image
from torchvision_steps import Images, augmentation

MODEL = "ssdlite320_mobilenet_v3_large"
LR, LR_BATCH, WEIGHT_DECAY = 0.15, 24 * 8, 4e-5
"""The references' learning rate, the batch that it is meant for (24 on each of 8 GPUs), and their weight decay."""


def main():
    """Train, detect, print."""
    asked = json.loads(sys.stdin.readline())
    torch.set_num_threads(asked["threads"])
    torch.manual_seed(asked["seed"])
    model = getattr(models.detection, MODEL)(
        weights=None, weights_backbone=None, num_classes=asked["classes"] + 1
    ).train()
    loader = torch.utils.data.DataLoader(
        Images(asked["training"], augmentation(MODEL)),
        asked["batch"],
        shuffle=True,
        drop_last=True,
        collate_fn=lambda items: tuple(zip(*items, strict=True)),
    )
    lr = LR * asked["batch"] / LR_BATCH
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=WEIGHT_DECAY)
    began, epochs = time.process_time(), 0
    while True:
        done = (time.process_time() - began) / asked["seconds"]
        if done >= 1:
            break
        for images, targets in loader:
            spent = min(1.0, (time.process_time() - began) / asked["seconds"])
            share = min(1.0, 0.01 + 20 * spent) * (1 + math.cos(math.pi * spent)) / 2
            for group in optimizer.param_groups:  # cosine over the budget, after a warm-up of a twentieth
                group["lr"] = lr * share
            loss = sum(model(list(images), list(targets)).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        epochs += 1
        print(f"torchvision: epoch {epochs}, {100 * min(1.0, done):.0f} % of the time", file=sys.stderr, flush=True)
    model.eval()
    found = []
    with torch.inference_mode():
        for path in asked["measured"]:
            image = decode_image(path, mode=ImageReadMode.RGB).float() / 255
            (one,) = model([image])
            found.append([one["boxes"].tolist(), one["scores"].tolist(), (one["labels"] - 1).tolist()])
    print(json.dumps({"epochs": epochs, "begun": "no weights", "detections": found}))


if __name__ == "__main__":
    main()
