"""Write a labelled data set of rendered scenes, in Pascal VOC's layout: labels without photographs."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ssd_edge.data.dataset import Image, Target
from ssd_edge.data.parts import LABELS
from ssd_edge.data.synthetic import Conveyor
from ssd_edge.data.voc_write import Object, annotation
from ssd_edge.errors import DataError
from ssd_edge.progress import Progress, no_progress

_SHOTS = 4  # pictures of one scene, far apart on its belt, since making a scene costs more than rendering a picture


def write_dataset(
    folder: Path,
    *,
    images: int,
    seed: int,
    val_fraction: float = 0.2,
    progress: Progress = no_progress,
) -> Path:
    """Write a labelled data set in Pascal VOC's layout, completely or not at all.

    Belt, light, density and speed change every few pictures, and ``val`` has other scenes than ``train``. A folder that
    already holds a data set of the same recipe is left as it is.

    Args:
        folder: folder to make, with its parents.
        images: number of images, train and val together; 2 or more.
        seed: random seed, 0 or more.
        val_fraction: share of the images for ``val``, between 0 and 1; each split gets at least one image.
        progress: called with (done, images) after every image.

    Returns:
        ``folder``, with JPEGImages, Annotations, ImageSets/Main/{train,val,trainval}.txt and recipe.json.

    Raises:
        ValueError: an argument is out of range.
        DataError: the folder holds something else, or cannot be written.
    """
    if images < 2 or seed < 0 or not 0 < val_fraction < 1:
        raise ValueError(
            f"images must be >= 2, seed >= 0 and 0 < val_fraction < 1, but got images={images}, seed={seed}, "
            f"val_fraction={val_fraction}"
        )
    val = min(max(round(images * val_fraction), 1), images - 1)
    recipe = {"generator": "conveyor", "version": 1, "images": images, "val": val, "seed": seed}
    if _holds(folder, recipe):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            made = Path(scratch) / "made"
            _write_files(made, {"train": images - val, "val": val}, seed, progress)
            (made / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
            if folder.exists():
                folder.rmdir()  # _holds has made sure that it is empty
            made.replace(folder)
    except OSError as error:
        raise DataError(f"cannot write the data set {folder}: {error.strerror}") from error
    return folder


def _holds(folder: Path, recipe: dict[str, object]) -> bool:
    """Tell whether the folder was written from this recipe; raise DataError if it holds anything else."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise DataError(f"cannot write the data set {folder}: there is a file of that name")
    if not any(folder.iterdir()):
        return False
    try:
        existing = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        existing = None
    if existing == recipe:
        return True
    met = "other files" if existing is None else f"a data set of another recipe ({json.dumps(existing)})"
    raise DataError(f"cannot write the data set {folder}: it holds {met}; choose another folder or remove it")


def _write_files(root: Path, splits: dict[str, int], seed: int, progress: Progress) -> None:
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    total = sum(splits.values())
    names: list[str] = []
    for part, (split, count) in enumerate(splits.items()):
        first = len(names)
        for image, target in _shots(count, (seed, part)):
            name = f"{len(names):06d}"
            _write_image(root / "JPEGImages" / f"{name}.jpg", image)
            _write_annotation(root / "Annotations" / f"{name}.xml", f"{name}.jpg", image.shape, target)
            names.append(name)
            progress(len(names), total)
        _write_names(root, split, names[first:])
    _write_names(root, "trainval", names)


def _shots(count: int, stream: tuple[int, int]) -> Iterator[tuple[Image, Target]]:
    """Render ``count`` pictures, with a new scene every few pictures; no part appears twice."""
    rng = np.random.default_rng(stream)
    for shot in range(count):
        if shot % _SHOTS == 0:
            speed, density = float(rng.uniform(40, 220)), float(rng.uniform(5, 9))
            conveyor = Conveyor(int(rng.integers(2**62)), speed=speed, density=density)
            view = math.ceil(2 * conveyor.size[0] / speed * conveyor.fps)  # frames after which the whole view is new
        yield conveyor.frame(view * (shot % _SHOTS) + int(rng.integers(view // 4)))


def _write_image(path: Path, image: Image) -> None:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 94])
    if not done:
        raise DataError(f"cannot encode {path}")
    path.write_bytes(data.tobytes())


def _write_names(root: Path, split: str, names: list[str]) -> None:
    (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{n}\n" for n in names), encoding="utf-8")


def _write_annotation(path: Path, file: str, shape: tuple[int, ...], target: Target) -> None:
    """Write one image's objects, whose corners are whole pixels."""
    boxes = target.boxes.astype(int).tolist()
    objects = [Object(LABELS[label], tuple(box)) for box, label in zip(boxes, target.labels, strict=True)]
    path.write_bytes(annotation(file, (shape[0], shape[1]), objects))
