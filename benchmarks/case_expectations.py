"""What is right for the inputs of shared/cases: one function for each kind of behaviour.

An expectation takes an input and an empty folder, and raises ``WrongError`` if the program's behaviour is wrong. The
wording of sentences does not matter: exit codes, kinds of issues, numbers of images, boxes and scores do.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import figure
import numpy as np

from ssd_edge.data.check import check_dataset
from ssd_edge.data.dataset import Dataset, read_image
from ssd_edge.data.images import sample_images
from ssd_edge.data.readers import open_dataset
from ssd_edge.data.report import Report
from ssd_edge.data.split import training_and_validation
from ssd_edge.errors import DataError

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "from ssd_edge.cli.main import main; main()"
BOX = (50, 30, 90, 70)
"""The drawn object, in pixels of a picture of 160×120."""
VIDEO_FRAMES = 30
RAW_SCORE = 0.970
"""Score of the best detection in the picture of case 17, as the network with one softmax gives it."""


class WrongError(Exception):
    """The program did something other than what is right; the message says what."""


class Ran(NamedTuple):
    """Result of a command."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What it said to a person, shortened."""
        return " ".join(self.err.split())[-300:]


def ssd_edge(*arguments: str | Path) -> Ran:
    """Run a command of ssd-edge from this source."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400"},
    )
    expect("Traceback" not in done.stderr, f"a traceback, which ends in {done.stderr.strip()[-200:]}")
    return Ran(done.returncode, done.stdout, done.stderr)


def expect(is_right: object, otherwise: str) -> None:
    """Raise WrongError with a sentence if something is not right."""
    if not is_right:
        raise WrongError(otherwise)


def report(path: Path, split: str = "") -> Report:
    """Read and check a data set, as check-data and train do."""
    return check_dataset(open_dataset(path, split))


def expect_boxes(dataset: Dataset, number: int, box: tuple[int, ...] = BOX) -> None:
    """Expect this number of images, each with one object in this place."""
    expect(len(dataset) == number, f"{len(dataset)} images, not {number}")
    for sample in dataset:
        boxes = sample.target.boxes
        right = boxes.shape == (1, 4) and np.abs(boxes - box).max() <= 1
        expect(right, f"{sample.image.name}: boxes {boxes.tolist()}, not one at {box}")


def expect_listed(path: Path, pattern: str = "") -> None:
    """Expect check-data to list a problem, one of whose kinds or details has the pattern; or to refuse the data set."""
    ran = ssd_edge("check-data", path, "--json")
    expect(ran.code in (1, 2), f"check-data lists nothing, and ends with {ran.code}")
    if ran.code == 1:
        told = json.loads(ran.out)
        said = [f"{one['kind']} {one['detail']}" for one in told["issues"]]
        is_said = any(re.search(pattern, text) for text in (told["summary"], *said))
        expect(is_said, f"check-data lists only {sorted(set(said))[:3]}")


def usable(path: Path) -> Dataset | None:
    """Return the usable part of a data set, or None if it is refused or nothing is left."""
    try:
        clean = report(path).clean
    except DataError:
        return None
    return clean if any(len(sample.target) for sample in clean) else None


def parts_of(path: Path) -> tuple[Dataset, Dataset]:
    """Return the images that a training learns from, and those that it validates on."""
    parts: Any = training_and_validation(path)
    with suppress(ModuleNotFoundError):  # a source that holds out before it checks has no such module
        from ssd_edge.data.usable import check_parts

        parts = check_parts(*parts)
        return parts.training, parts.validation
    return parts[0], parts[1]


def names(dataset: Dataset) -> set[str]:
    """Return the names of a data set's images, without suffix."""
    return {sample.image.stem for sample in dataset}


def numbers(*ranges: tuple[int, int]) -> set[str]:
    """Return the numbers of ranges as texts."""
    return {str(k) for first, last in ranges for k in range(first, last + 1)}


# Data sets: what is read, and where


def is_read(
    path: Path, _: Path, images: int = 4, box: tuple[int, ...] = BOX, labels: tuple[str, ...] = ("bolt",)
) -> None:
    """All images have their box, and the classes have their names."""
    read = report(path)
    expect(read.dataset.labels == labels, f"classes {read.dataset.labels}, not {labels}")
    expect_boxes(read.clean, images, box)


def is_read_or_named(path: Path, folder: Path, name: str) -> None:
    """The layout is read, or a sentence names it."""
    try:
        is_read(path, folder)
    except DataError as error:
        without_path = str(error).replace(str(path), "")
        named = re.search(name, without_path, re.IGNORECASE) and "looked for" not in without_path
        expect(named, f"neither read nor named: {error}")


def is_listed(path: Path, _: Path, pattern: str) -> None:
    """The problem is listed, and what is kept has its box in the right place."""
    expect_listed(path, pattern)
    clean = usable(path)
    if clean is not None:
        expect_boxes(clean, len(clean))


def is_box_or_sentence(path: Path, _: Path) -> None:
    """The box is read; else nothing of it is, and that is said."""
    clean = usable(path)
    if clean is None:
        expect_listed(path)
    else:
        expect_boxes(clean, 4)


def says_parts(path: Path, folder: Path) -> None:
    """A val list with suffixes is understood, and train says how many images it trains and validates on."""
    training, validation = parts_of(path)
    parts = names(training), names(validation)
    expect(
        parts == (numbers((0, 9)), numbers((10, 13))), f"trains on {sorted(parts[0])}, validates on {sorted(parts[1])}"
    )
    said = train(path, folder).err
    expect(re.search(r"\b10\b", said) and re.search(r"\b4\b", said), f"train names no 10 and 4 images: {said[-200:]}")


def refuses_broken_split(path: Path, _: Path) -> None:
    """A val part that cannot be read is an error."""
    try:
        training, validation = parts_of(path)
    except DataError:
        return
    raise WrongError(
        f"trains on {len(training)} images and validates on {len(validation)}, without the val that is there"
    )


def keeps_splits(path: Path, _: Path, train_names: set[str], val_names: set[str]) -> None:
    """Nothing is learnt from that the data set calls val or test; or a sentence says why not."""
    for given in (path, path / "data.yaml"):
        try:
            training, validation = parts_of(given)
        except DataError:
            continue
        wrong = names(training) - train_names
        expect(not wrong, f"{given.name}: trains on {sorted(wrong)}")
        expect(names(validation) <= val_names, f"{given.name}: validates on {sorted(names(validation))}")


def separates_copies(path: Path, _: Path) -> None:
    """Copies of an image are on one side when a part is held out."""
    parts = parts_of(path)
    digests = [{hashlib.sha256(sample.image.read_bytes()).digest() for sample in part} for part in parts]
    expect(all(digests), "a part is empty")
    expect(not digests[0] & digests[1], f"{len(digests[0] & digests[1])} validation pictures are in training")


def lists_copies(path: Path, folder: Path) -> None:
    """Copies across declared splits are on one side, or check-data lists them for one of the splits."""
    for split in ("train", "val"):
        ran = ssd_edge("check-data", path, "--split", split, "--json")
        if ran.code == 1 and any("duplicate" in kind for kind in json.loads(ran.out)["counts"]):
            return
    separates_copies(path, folder)


def refuses_nothing(path: Path, folder: Path) -> None:
    """A set without anything to learn is listed, and not trained on."""
    expect_listed(path)
    ran = train(path, folder)
    expect(ran.code == 2, f"train ends with {ran.code}: {ran.sentence}")


def is_voc(path: Path, folder: Path) -> None:
    """XML beside pictures is Pascal VOC."""
    read = report(path)
    expect(read.dataset.format == "voc", f"read as {read.dataset.format}")
    is_read(path, folder, images=6)


def holds_out_objects(path: Path, _: Path) -> None:
    """Both parts have an object."""
    counts = [sum(len(sample.target) for sample in part) for part in parts_of(path)]
    expect(all(counts), f"{counts[0]} objects to train on, {counts[1]} to validate on")


def says_undefined(path: Path, folder: Path) -> None:
    """AP without an object is not 0."""
    ran = train(path, folder)
    expect(ran.code in (0, 2), f"train ends with {ran.code}: {ran.sentence}")
    if ran.code == 0:
        ap50 = json.loads(ran.out)["ap50"]
        expect(ap50 is None, f"AP50 {ap50} of images without an object")


def train(path: Path, folder: Path) -> Ran:
    """Train for one epoch."""
    return ssd_edge("train", path, "-o", folder / "train", "--epochs", "1", "--batch-size", "2", "--json")


def leaves_root_out(path: Path, _: Path) -> None:
    """The exporter's root category is no class, and that is said."""
    ran = ssd_edge("check-data", path, "--json")
    expect(ran.code in (0, 1), f"check-data ends with {ran.code}: {ran.sentence}")
    read = json.loads(ran.out)
    expect(read["labels"] == ["bolt"], f"classes {read['labels']}")
    expect("parts-Xk2Q" in ran.out + ran.err, "not a word about the category that was left out")


def hints_work(path: Path, folder: Path) -> None:
    """Every check-data command that train names lists something."""
    said = train(path, folder).err
    for hint in re.findall(r"ssd-edge (check-data .*?)(?: lists|[;)\n])", said):
        code = ssd_edge(*shlex.split(hint)).code
        expect(code == 1, f"{hint} ends with {code}")


def none_is_difficult(path: Path, folder: Path) -> None:
    """Words for "no" are 0."""
    is_read(path, folder)
    difficult = sum(int(sample.target.difficult.sum()) for sample in report(path).clean)
    expect(difficult == 0, f"{difficult} objects are difficult")


# Pictures and videos


def is_left_out(path: Path, _: Path) -> None:
    """No picture with half its data is used."""
    expect_listed(path)
    clean = usable(path)
    expect(clean is None, f"{0 if clean is None else len(clean)} cut pictures are used")


def same_picture(path: Path, _: Path) -> None:
    """Both files of the picture are turned alike."""
    jpeg, webp = (read_image(path / f"turned.{suffix}") for suffix in ("jpg", "webp"))
    expect(jpeg.shape == webp.shape, f"JPEG {jpeg.shape}, WebP {webp.shape}")
    difference = float(np.abs(jpeg.astype(float) - webp).mean())
    expect(difference < 10, f"the pictures differ by {difference:.0f}")


def run(camera: Path, folder: Path, *options: str | Path) -> dict[str, Any]:
    """Run a tiny model on every frame, and return the report."""
    heads = folder / "tiny.onnx"
    case = figure.real_data("cases/16-decode-inside")
    made = ssd_edge("import-onnx", case / "raw.onnx", case / "spec.json", "-o", heads, "--no-proof")
    expect(made.code == 0, f"import-onnx ends with {made.code}: {made.sentence}")
    ran = ssd_edge("run", heads, "--camera", camera, "--every-frame", "--json", *options)
    expect(ran.code == 0, f"run ends with {ran.code}: {ran.sentence}")
    result: dict[str, Any] = json.loads(ran.out)
    return result


def plays(path: Path, folder: Path, damaged: int = 0) -> None:
    """A video plays to its end, and frames that are lost are counted."""
    told = run(path, folder)
    played = told["processed"]
    expect(played >= VIDEO_FRAMES - 3 * damaged, f"{played} of {VIDEO_FRAMES} frames, {damaged} packets damaged")
    others = {"processed", "captured", "detections", "frames_cut"}
    lost = [value for name, value in told.items() if name not in others and type(value) is int and value > 0]
    expect(played == VIDEO_FRAMES or lost, f"{VIDEO_FRAMES - played} frames are lost and none is counted")


def writes_all(path: Path, folder: Path) -> None:
    """A long name does not keep a picture from being written."""
    told = run(path, folder, "--save-images", folder / "images")
    written = len(list((folder / "images").iterdir()))
    expect((told["processed"], written) == (2, 2), f"{told['processed']} frames, {written} pictures written")


def uses_data_set(path: Path, _: Path) -> None:
    """The images are those of the data set, not the picture beside it."""
    number = sum(1 for _ in sample_images(path, 64))
    expect(number == 34, f"{number} images, not 34")


# Models


def import_heads(onnx: Path, folder: Path) -> tuple[Ran, Path]:
    """Import a file with the description beside it."""
    output = folder / "heads.onnx"
    return ssd_edge("import-onnx", onnx, onnx.with_name("spec.json"), "-o", output), output


def is_refused(path: Path, folder: Path, pattern: str) -> None:
    """The file is refused, with a sentence that says what it is."""
    ran, _ = import_heads(path, folder)
    expect(ran.code == 2, f"import-onnx ends with {ran.code}: {ran.sentence}")
    said = ran.err.replace(str(path), "")
    expect(re.search(pattern, said, re.IGNORECASE | re.DOTALL), f"says only: {ran.sentence}")


def is_imported(path: Path, folder: Path) -> None:
    """Raw heads are imported."""
    ran, _ = import_heads(path, folder)
    expect(ran.code == 0, f"import-onnx ends with {ran.code}: {ran.sentence}")


def has_one_softmax(path: Path, folder: Path) -> None:
    """The best score is that of one softmax; or the file is refused for its softmax."""
    ran, output = import_heads(path, folder)
    if ran.code == 2:
        said = ran.err.replace(str(path), "")
        expect(re.search("softmax|probabilit", said, re.IGNORECASE), f"says only: {ran.sentence}")
        return
    expect(ran.code == 0, f"import-onnx ends with {ran.code}: {ran.sentence}")
    from ssd_edge.engines.opening import open_model

    with open_model(output) as engine, engine.detector(0.01) as detector:
        best = float(detector(read_image(path.with_name("picture.png"))).scores.max(initial=0))
    expect(abs(best - RAW_SCORE) < 0.01, f"best score {best:.3f}, not {RAW_SCORE}")
