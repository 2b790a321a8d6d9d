"""A model's proof: a few images with the detections of its exactly computed heads.

The proof travels with the heads and in the bundle. Whoever builds, moves or updates an engine runs the images through
it and compares the detections. That shows that the engine is right on its own machine, whatever processor or driver it
has.

Only detections that the model is clear about count. Two boxes of nearly the same score, or a score at the threshold,
are decided by the last digits of a sum, and those differ between engines. So the reference is decoded again several
times with noise added to its heads. Detections that do not survive this are kept, but an engine need not find them.
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
from ssd_edge.detector import Heads, RawHeads
from ssd_edge.errors import ProofError
from ssd_edge.parsing import parse_json
from ssd_edge.pixels import Image
from ssd_edge.preprocess import preprocess
from ssd_edge.resize import resize
from ssd_edge.spec import ModelSpec

PROOF_KEY = "ssd_edge.proof"
"""Key of the packed proof, in base64, in an ONNX file's ``metadata_props``."""

NUM_IMAGES = 8
POOL = 32
"""A proof keeps the ``NUM_IMAGES`` of the first ``POOL`` images that show most classes and detections."""

MOST_BYTES = 1 << 20
"""Largest size of a packed proof; if images are large, it has fewer than ``NUM_IMAGES``."""

LEAST_SCORES = (0.3, 0.1, 0.03)
"""Lowest score of detections that count: the first of these that leaves enough of them, so a lower one for a model
whose scores are all low."""

# Standard deviations of the noise on logits and on loc, the latter in units of variances: somewhat more than what INT8
# adds to the heads of an SSDLite.
_LOGIT_NOISE, _LOC_NOISE, _TRIALS = 0.2, 0.1, 4
_VERSION = 1
_CONTENT = "proof.json"
_MOST_UNPACKED = 64 << 20


@dataclass(frozen=True, eq=False)
class Proof:
    """Images and the detections expected in them.

    Attributes:
        images: (H, W, 3) uint8 BGR each, already resized to the model's input size by ``ssd_edge.resize``.
        detections: detections of the exact heads in each image, in its pixels, best score first.
        counts: (N,) bool for each image: which of its detections an engine must find again.
        least: lowest score of the detections that count.
    """

    images: tuple[Image, ...]
    detections: tuple[Detections, ...]
    counts: tuple[npt.NDArray[np.bool_], ...]
    least: float

    @property
    def counted(self) -> int:
        """Number of detections that an engine must find again; 0 if the model is clear about none."""
        return sum(int(which.sum()) for which in self.counts)

    def of(self, chosen: Sequence[int]) -> Proof:
        """Make a proof with only the images at these indices."""
        return Proof(
            tuple(self.images[k] for k in chosen),
            tuple(self.detections[k] for k in chosen),
            tuple(self.counts[k] for k in chosen),
            self.least,
        )

    def pack(self) -> bytes:
        """Pack the proof as a zip archive: the images as lossless WebP, and ``proof.json``."""
        content = {
            "proof_version": _VERSION,
            "least": self.least,
            "images": [
                {
                    "boxes": detections.boxes.tolist(),
                    "scores": detections.scores.tolist(),
                    "labels": detections.labels.tolist(),
                    "counts": which.tolist(),
                }
                for detections, which in zip(self.detections, self.counts, strict=True)
            ],
        }
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            # A fixed time, so that equal proofs give equal bytes.
            for name, data in ((_CONTENT, json.dumps(content).encode()), *map(_file, count(), self.images)):
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
        return packed.getvalue()

    @classmethod
    def unpack(cls, packed: bytes, spec: ModelSpec) -> Proof:
        """Invert ``pack``.

        Args:
            packed: the archive.
            spec: spec of the model that the proof should belong to.

        Raises:
            ProofError: the proof is damaged, has another version, or belongs to a model with another input size or
                with more classes.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > _MOST_UNPACKED:
                    raise ValueError("it is too large")
                content = parse_json(archive.read(_CONTENT))
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
            if any(
                which.shape != detections.scores.shape
                for which, detections in zip(proof.counts, proof.detections, strict=True)
            ):
                raise ValueError("its detections and its marks of which ones count differ in number")
        except Exception as error:  # zipfile, zlib, numpy and OpenCV raise anything on a damaged archive
            raise ProofError(f"the model's proof cannot be read ({str(error)[:200]}): {_ANEW}") from None
        if any(np.any(detections.labels >= len(spec.labels)) for detections in proof.detections):
            raise ProofError(f"the model's proof belongs to another model, which has more classes: {_ANEW}")
        return proof


_ANEW = "export or calibrate the model again"


def record(heads: Heads, frames: Iterable[Image], number: int = NUM_IMAGES) -> Proof:
    """Choose the images that show most, and keep them with the detections of exact heads.

    Args:
        heads: heads that compute exactly: FP32, or Q/DQ in float.
        frames: images of any size, such as validation or calibration images; only the first ``POOL`` are used.
        number: number of images to keep; fewer are kept if there are no more, or if more exceed ``MOST_BYTES``.
    """
    pool = observe(heads, islice(frames, POOL))
    chosen = _showing_most([one.labels[which] for one, which in zip(pool.detections, pool.counts, strict=True)], number)
    while len(chosen) > 1 and len(pool.of(chosen).pack()) > MOST_BYTES:
        chosen = chosen[:-1]
    return pool.of(chosen)


def observe(heads: Heads, frames: Iterable[Image]) -> Proof:
    """Keep all images with the detections of exact heads; arguments as in ``record``."""
    spec, decode = heads.spec, Decoder(heads.spec)
    images, detections, clear = [], [], []
    for frame in frames:
        images.append(resize(frame, spec.input_size, spec.resize))
        raw = RawHeads(*(part[0] for part in heads.submit(preprocess(images[-1], spec))()))
        detections.append(decode(*raw, spec.input_size))
        clear.append(_clear(raw, detections[-1], decode))
    least, counts = LEAST_SCORES[0], []
    for least in LEAST_SCORES:
        counts = [survives & (one.scores >= least) for survives, one in zip(clear, detections, strict=True)]
        if sum(int(which.sum()) for which in counts) >= NUM_IMAGES:
            break
    return Proof(tuple(images), tuple(detections), tuple(counts), least)


def check(heads: Heads, proof: Proof, precision: str) -> Agreement:
    """Run a proof's images through an engine, and compare its detections with the expected ones.

    Args:
        heads: the engine.
        proof: the proof of its model.
        precision: key of ``TOLERANCES``, which say how much may differ.

    Raises:
        BackendError: the engine failed.
    """
    with heads.detector() as detector:
        detections = [detector(image) for image in proof.images]
    return compare_with(proof, detections, TOLERANCES[precision], heads.spec)


def compare_with(proof: Proof, detections: Sequence[Detections], tolerance: Tolerance, spec: ModelSpec) -> Agreement:
    """Compare the detections found in a proof's images with the expected ones."""
    return compare(proof.detections, proof.counts, detections, tolerance, proof.least, spec)


def _clear(raw: RawHeads, detections: Detections, decode: Decoder) -> npt.NDArray[np.bool_]:
    """Compute (N,) which detections survive noise on the heads."""
    tolerance, random = TOLERANCES["INT8"], np.random.default_rng(0)
    survives = np.ones(len(detections), bool)
    for _ in range(_TRIALS):
        loc = (raw.loc + random.normal(0, _LOC_NOISE, raw.loc.shape)).astype(np.float32)
        logits = (raw.logits + random.normal(0, _LOGIT_NOISE, raw.logits.shape)).astype(np.float32)
        other = decode(loc, logits, decode.spec.input_size)
        overlap = iou(detections.boxes[:, None], other.boxes[None]) * (detections.labels[:, None] == other.labels[None])
        alike = np.abs(detections.scores[:, None] - other.scores[None]) <= tolerance.score
        survives &= ((overlap >= SAME_PLACE) & alike).any(axis=1)
    return survives


def _showing_most(labels: Sequence[npt.NDArray[np.int64]], number: int) -> list[int]:
    """Choose image indices one by one: always the image with most classes not yet shown, then with most detections."""
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
        raise ProofError("this OpenCV cannot write lossless WebP, the format of a proof's images: give --no-proof")
    return f"{number}.webp", data.tobytes()


def _image(data: bytes, size: tuple[int, int]) -> Image:
    """Decode a lossless WebP of size (height, width).

    The size in its header is checked before decoding, since a decoder would allocate whatever the header asks for.
    """
    bits = int.from_bytes(data[21:25], "little")
    if data[12:16] != b"VP8L" or ((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1) != size:
        raise ValueError(f"its images are not {size[1]}×{size[0]} pixels, the size of the model's input")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("an image is damaged, or this OpenCV cannot read WebP")
    return np.asarray(image, np.uint8)


def _detections(entry: Any) -> Detections:
    boxes = np.asarray(entry["boxes"], np.float32).reshape(-1, 4)
    scores = np.asarray(entry["scores"], np.float32)
    labels = np.asarray(entry["labels"], np.int64)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all() and np.all(labels >= 0)):
        raise ValueError("it holds boxes or scores that are not finite, or negative labels")
    return Detections(boxes, scores, labels)
