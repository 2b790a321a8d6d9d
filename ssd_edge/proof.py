"""A model's proof: a few images, and what its heads find in them, computed exactly.

It travels with the heads and in the bundle. Whoever builds, moves or updates an engine runs the images through it and
compares: that shows the engine right on the very machine that it is for, whatever processor or driver that has.

Only detections that the model is clear about count. Two boxes of nearly the same score, or a score at the threshold,
are decided by the last digits of a sum, and no two engines have these in common. So the reference is decoded again with
noise on its heads, several times, and what does not survive that is kept, but needs not be found.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.agreement import SAME_PLACE, TOLERANCES, Agreement, Tolerance, compare
from ssd_edge.boxes import iou
from ssd_edge.decode import Decoder
from ssd_edge.detections import Detections
from ssd_edge.detector import Heads, Image, RawHeads
from ssd_edge.errors import ProofError
from ssd_edge.preprocess import preprocess
from ssd_edge.resize import resize
from ssd_edge.spec import ModelSpec

PROOF_KEY = "ssd_edge.proof"
"""The key under which an ONNX file's ``metadata_props`` hold a packed proof, in base64."""

NUM_IMAGES = 8
POOL = 32
"""Images of a proof, and how many they are chosen from: those that show most."""

MOST_BYTES = 1 << 20
"""A packed proof is no larger; of large images there are fewer than ``NUM_IMAGES``."""

LEAST_SCORES = (0.3, 0.1, 0.03)
"""Score from which detections count: the first that leaves enough of them, a lower one of a model never
sure."""

# Noise of the heads: what INT8 adds to those of an SSDLite, and somewhat more. Logits, and loc in units of variances.
_LOGIT_NOISE, _LOC_NOISE, _TRIALS = 0.2, 0.1, 4
_VERSION = 1
_CONTENT = "proof.json"
_MOST_UNPACKED = 64 << 20


@dataclass(frozen=True, eq=False)
class Proof:
    """Images and what is to be found in them.

    Attributes:
        images: (H, W, 3) uint8 BGR each, of the model's input size: what ``ssd_edge.resize`` makes of a frame.
        found: detections of the exact heads in each, in its pixels, best score first.
        counts: (N,) bool of each: which of them an engine has to find again.
        least: score from which they count.
    """

    images: tuple[Image, ...]
    found: tuple[Detections, ...]
    counts: tuple[npt.NDArray[np.bool_], ...]
    least: float

    @property
    def counted(self) -> int:
        """Detections that an engine has to find again; 0 where the model is clear about nothing."""
        return sum(int(which.sum()) for which in self.counts)

    def of(self, chosen: Sequence[int]) -> Proof:
        """With these images only, by number."""
        return Proof(
            tuple(self.images[k] for k in chosen),
            tuple(self.found[k] for k in chosen),
            tuple(self.counts[k] for k in chosen),
            self.least,
        )

    def pack(self) -> bytes:
        """As a zip archive: the images as lossless WebP, and ``proof.json``."""
        content = {
            "proof_version": _VERSION,
            "least": self.least,
            "images": [
                {
                    "boxes": found.boxes.tolist(),
                    "scores": found.scores.tolist(),
                    "labels": found.labels.tolist(),
                    "counts": which.tolist(),
                }
                for found, which in zip(self.found, self.counts, strict=True)
            ],
        }
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            # A fixed time, so that the same proof is the same bytes.
            for name, data in ((_CONTENT, json.dumps(content).encode()), *map(_file, count(), self.images)):
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
        return packed.getvalue()

    @classmethod
    def unpack(cls, packed: bytes, spec: ModelSpec) -> Proof:
        """The inverse of ``pack``.

        Args:
            packed: the archive.
            spec: of the model that it is said to be of.

        Raises:
            ProofError: damaged, of another version, or of a model of another input size or with fewer classes.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > _MOST_UNPACKED:
                    raise ValueError("it is too large")
                content = json.loads(archive.read(_CONTENT))
                if content["proof_version"] != _VERSION:
                    raise ValueError(f"it is of version {content['proof_version']}, not {_VERSION}")
                entries = content["images"]
                images = tuple(_image(archive.read(f"{k}.webp"), spec.input_size) for k in range(len(entries)))
            proof = cls(
                images,
                tuple(_detections(entry) for entry in entries),
                tuple(np.asarray(entry["counts"], bool) for entry in entries),
                float(content["least"]),
            )
            if any(which.shape != found.scores.shape for which, found in zip(proof.counts, proof.found, strict=True)):
                raise ValueError("it does not say of each detection whether it counts")
        except (zipfile.BadZipFile, KeyError, TypeError, ValueError, OverflowError, RecursionError, OSError) as error:
            raise ProofError(f"the model's proof cannot be read ({error}): {_ANEW}") from None
        if any(np.any(found.labels >= len(spec.labels)) for found in proof.found):
            raise ProofError(f"the model's proof is that of another model, which knows more classes: {_ANEW}")
        return proof


_ANEW = "export or calibrate the model again"


def record(heads: Heads, frames: Iterable[Image], number: int = NUM_IMAGES) -> Proof:
    """Choose images that show most, and keep what exact heads find in them.

    Args:
        heads: compute exactly: FP32, or Q/DQ in float.
        frames: of any size, such as validation or calibration images; the first ``POOL`` are looked at.
        number: of the images to keep; fewer where there are no more, or more would not fit into ``MOST_BYTES``.
    """
    pool = observe(heads, islice(frames, POOL))
    chosen = _showing_most([found.labels[which] for found, which in zip(pool.found, pool.counts, strict=True)], number)
    while len(chosen) > 1 and len(pool.of(chosen).pack()) > MOST_BYTES:
        chosen = chosen[:-1]
    return pool.of(chosen)


def observe(heads: Heads, frames: Iterable[Image]) -> Proof:
    """Keep all images, and what a reference finds in them; arguments as in ``record``."""
    spec, decode = heads.spec, Decoder(heads.spec)
    images, found, clear = [], [], []
    for frame in frames:
        images.append(resize(frame, spec.input_size, spec.resize))
        raw = RawHeads(*(part[0] for part in heads.submit(preprocess(images[-1], spec))()))
        found.append(decode(*raw, spec.input_size))
        clear.append(_clear(raw, found[-1], decode))
    least, counts = LEAST_SCORES[0], []
    for least in LEAST_SCORES:
        counts = [survives & (one.scores >= least) for survives, one in zip(clear, found, strict=True)]
        if sum(int(which.sum()) for which in counts) >= NUM_IMAGES:
            break
    return Proof(tuple(images), tuple(found), tuple(counts), least)


def check(heads: Heads, proof: Proof, precision: str) -> Agreement:
    """Run a proof's images through an engine, and compare what it finds with what is to be found.

    Args:
        heads: the engine.
        proof: of its model.
        precision: says what may differ, see ``TOLERANCES``.

    Raises:
        BackendError: the engine failed.
    """
    with heads.detector() as detector:
        found = [detector(image) for image in proof.images]
    return compare_with(proof, found, TOLERANCES[precision], heads.spec)


def compare_with(proof: Proof, found: Sequence[Detections], tolerance: Tolerance, spec: ModelSpec) -> Agreement:
    """What was found in a proof's images against what is to be found there."""
    return compare(proof.found, proof.counts, found, tolerance, proof.least, spec)


def _clear(raw: RawHeads, found: Detections, decode: Decoder) -> npt.NDArray[np.bool_]:
    """(N,) which detections survive noise on the heads."""
    tolerance, random = TOLERANCES["INT8"], np.random.default_rng(0)
    survives = np.ones(len(found), bool)
    for _ in range(_TRIALS):
        loc = (raw.loc + random.normal(0, _LOC_NOISE, raw.loc.shape)).astype(np.float32)
        logits = (raw.logits + random.normal(0, _LOGIT_NOISE, raw.logits.shape)).astype(np.float32)
        other = decode(loc, logits, decode.spec.input_size)
        overlap = iou(found.boxes[:, None], other.boxes[None]) * (found.labels[:, None] == other.labels[None])
        alike = np.abs(found.scores[:, None] - other.scores[None]) <= tolerance.score
        survives &= ((overlap >= SAME_PLACE) & alike).any(axis=1)
    return survives


def _showing_most(labels: Sequence[npt.NDArray[np.int64]], number: int) -> list[int]:
    """Images, one after the other: each shows most classes that those before it do not, or else most detections."""
    shown: set[int] = set()
    left = list(range(len(labels)))
    chosen: list[int] = []
    while left and len(chosen) < number:
        counters = {k: Counter(labels[k].tolist()) for k in left}
        best = max(left, key=lambda k: (len(counters[k].keys() - shown), counters[k].total(), -k))
        shown |= counters[best].keys()
        chosen.append(best)
        left.remove(best)
    return chosen


def _file(number: int, image: Image) -> tuple[str, bytes]:
    written, data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])  # above 100: lossless
    if not written:
        raise ProofError("this OpenCV cannot write lossless WebP, which images of a proof are kept in: give --no-proof")
    return f"{number}.webp", data.tobytes()


def _image(data: bytes, size: tuple[int, int]) -> Image:
    """A lossless WebP of (height, width), which is read in its header first: a decoder would take whatever it says."""
    bits = int.from_bytes(data[21:25], "little")
    if data[12:16] != b"VP8L" or ((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1) != size:
        raise ValueError(f"its images are not of {size[1]}×{size[0]} pixels, as the model's input is")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("an image is damaged, or this OpenCV knows no WebP")
    return np.asarray(image, np.uint8)


def _detections(entry: Any) -> Detections:
    boxes = np.asarray(entry["boxes"], np.float32).reshape(-1, 4)
    scores = np.asarray(entry["scores"], np.float32)
    labels = np.asarray(entry["labels"], np.int64)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all() and np.all(labels >= 0)):
        raise ValueError("it holds a number that is no detection's")
    return Detections(boxes, scores, labels)
