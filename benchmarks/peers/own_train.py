"""Train with the small-data recipe for a budget of processor time, and print its detections as JSON.

As torchvision_train and ultralytics_train, for ssd-edge itself; the number of epochs is what fits into the budget by
the time of three epochs.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from ssd_edge.data.dataset import read_image
from ssd_edge.data.readers import open_dataset
from ssd_edge.engines.opening import open_model
from ssd_edge.training.recipe import Recipe
from ssd_edge.training.recipe_files import read_recipe
from ssd_edge.training.run import TrainingRun
from ssd_edge.training.train import train

PROBED = 3


def main() -> None:
    """Train, detect, print."""
    asked = json.loads(sys.stdin.readline())
    torch.set_num_threads(asked["threads"])
    start, data = Path(asked["start"]), Path(asked["data"])
    recipe = replace(
        read_recipe("ssdlite_small_data"),
        model=asked["model"],
        input=asked["input"],
        box_sizes="fit",
        batch_size=asked["batch"],
        workers=0,
        seed=asked["seed"],
    )

    def trained(name: str, recipe: Recipe) -> Path:
        parts = open_dataset(data, "train"), open_dataset(data, "val")
        run = TrainingRun(*parts, Path(asked["folder"]) / name, recipe, show_bar=False)
        return train(run, start_from=start).checkpoint

    began = time.process_time()
    trained("probe", replace(recipe, epochs=1, validate_every=100))
    once = time.process_time()
    trained("probe", replace(recipe, epochs=1 + PROBED, validate_every=100))
    each = ((time.process_time() - once) - (once - began)) / PROBED
    epochs = max(1, int(asked["seconds"] / each))
    checkpoint = trained("trained", replace(recipe, epochs=epochs, validate_every=max(1, epochs // 4)))
    with open_model(checkpoint) as engine, engine.detector() as detector:
        found = [detector(read_image(Path(path))) for path in asked["measured"]]
    print(
        json.dumps(
            {
                "epochs": epochs,
                "begun": f"{start.name}, {asked['input']}",
                "detections": [[one.boxes.tolist(), one.scores.tolist(), one.labels.tolist()] for one in found],
            }
        )
    )


if __name__ == "__main__":
    main()
