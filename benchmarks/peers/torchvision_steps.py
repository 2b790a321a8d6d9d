"""Steps of training one of torchvision's detectors, on command: ``go N`` on stdin, seconds on stdout.

Runs in an environment of its own, which has torchvision and not ssd-edge. Images, boxes, batch and number of loader
processes are the caller's; the augmentation is that of torchvision's references/detection for this model.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from torchvision import models, tv_tensors
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

MEAN = (123.0, 117.0, 104.0)
"""Of the references, in RGB."""


class Images(torch.utils.data.Dataset):
    """Images read from disk, with boxes and labels, augmented."""

    def __init__(self, samples, augmentation):
        self.samples, self.augmentation = samples, augmentation

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        sample = self.samples[index]
        image = tv_tensors.Image(decode_image(sample["image"], mode=ImageReadMode.RGB))
        boxes = torch.tensor(sample["boxes"], dtype=torch.float32).reshape(-1, 4)
        target = {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=image.shape[-2:]),
            "labels": torch.tensor(sample["labels"], dtype=torch.int64) + 1,
        }
        return self.augmentation(image, target)


def augmentation(name):
    """Return the preset of references/detection/presets.py: "ssd" or "ssdlite"."""
    steps = [v2.RandomIoUCrop(), v2.RandomHorizontalFlip(0.5)]
    if name.startswith("ssd300"):
        steps = [v2.RandomPhotometricDistort(), v2.RandomZoomOut(fill=list(MEAN)), *steps]
    return v2.Compose([*steps, v2.SanitizeBoundingBoxes(), v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()])


def main():
    """Train until stdin ends."""
    asked = json.loads(sys.stdin.readline())
    torch.set_num_threads(asked["threads"])
    torch.manual_seed(0)
    model = getattr(models.detection, asked["model"])(
        weights=None, weights_backbone=None, num_classes=asked["classes"] + 1
    ).train()
    loader = torch.utils.data.DataLoader(
        Images(asked["samples"], augmentation(asked["model"])),
        asked["batch"],
        shuffle=True,
        drop_last=True,
        num_workers=asked["workers"],
        collate_fn=lambda items: tuple(zip(*items, strict=True)),
        persistent_workers=asked["workers"] > 0,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9, weight_decay=5e-4)

    def batches():
        while True:
            yield from loader

    endless = batches()
    for line in sys.stdin:
        number = int(line.split()[1])
        began = time.perf_counter()
        for _ in range(number):
            images, targets = next(endless)
            loss = sum(model(list(images), list(targets)).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
