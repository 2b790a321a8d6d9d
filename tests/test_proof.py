"""Proofs: what they keep, that packing loses nothing, and that damaged or foreign ones are refused."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from ssd_edge.boxes import default_boxes
from ssd_edge.detections import Detections
from ssd_edge.detector import HostDetector, RawHeads
from ssd_edge.errors import ProofError
from ssd_edge.proof import MOST_BYTES, Proof, check, observe, record
from ssd_edge.resize import resize
from tests.helpers import sentence, small_spec

SPEC = small_spec()


class Marks:
    """Heads that see bright 8×8 marks: blue is a bolt, red a nut; ``twins`` adds a box of nearly equal score."""

    depth, backend, precision = 1, "marks", "FP32"

    def __init__(self, spec=SPEC, twins=False) -> None:
        self.spec, self.twins = spec, twins
        self._defaults = default_boxes(spec)

    def submit(self, images):
        loc = np.zeros((1, len(self._defaults), 4), np.float32)
        logits = np.zeros((1, len(self._defaults), self.spec.num_classes), np.float32)
        logits[..., 0] = 8
        plane = images[0] > 1.5  # normalised: bright
        for label, channel in ((1, 2), (2, 0)):  # RGB planes
            for row, column in np.argwhere(plane[channel][4::8, 4::8]):
                centre = (column + 0.5) / 4, (row + 0.5) / 4
                near = np.abs(self._defaults[:48, :2] - centre).max(axis=1) < 0.05
                (first, second, _) = np.flatnonzero(near)
                logits[0, first, label] = 12
                if self.twins:
                    logits[0, second, label] = 12.01
        return lambda: RawHeads(loc, logits)

    def detector(self, *_):
        return HostDetector(self)

    def close(self):
        pass


def scene(*marks):
    """Draw a dark 32×32 picture with marks (row, column, channel of BGR)."""
    image = np.full((32, 32, 3), 20, np.uint8)
    for row, column, channel in marks:
        image[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8, channel] = 255
    return image


BOLT, NUT = scene((1, 1, 0)), scene((2, 2, 2))


def test_detections_are_kept():
    proof = record(Marks(), [BOLT, NUT])
    assert [one.labels[which].tolist() for one, which in zip(proof.detections, proof.counts, strict=True)] == [
        [0],
        [1],
    ]
    np.testing.assert_array_equal(proof.images[0], BOLT)
    agreement = check(Marks(), proof, "FP32")
    assert (agreement.counted, agreement.matched, agreement.extra) == (2, 2, 0)


def test_images_are_at_the_input_size():
    large = np.kron(BOLT, np.ones((3, 2, 1), np.uint8))
    (image,) = record(Marks(), [large]).images
    np.testing.assert_array_equal(image, resize(large, (32, 32), "linear"))


def test_images_that_show_most_are_kept():
    empty, two = scene(), scene((0, 0, 0), (3, 3, 0))
    proof = record(Marks(), [empty, BOLT, two, NUT, empty], number=2)
    assert [image.tobytes() for image in proof.images] == [two.tobytes(), NUT.tobytes()]


def test_only_the_first_images_are_looked_at():
    def endless():
        while True:
            yield BOLT

    assert len(record(Marks(), endless()).images) == 8


def test_detections_that_noise_changes_do_not_count():
    apart = small_spec(nms_iou=0.6)  # the two boxes have an IoU of 0.03 / 0.055
    both = observe(Marks(apart, twins=True), [BOLT])
    assert both.counted == len(both.detections[0].above(0.3)) == 2
    one = observe(Marks(twins=True), [BOLT])
    assert (one.counted, len(one.detections[0].above(0.3))) == (0, 1)
    # An engine may keep either of the two.
    assert check(Marks(twins=True), one, "FP32").holds
    assert check(Marks(), one, "FP32").holds


def test_a_proof_without_images_is_empty():
    proof = record(Marks(), [])
    assert (proof.images, proof.counted) == ((), 0)
    assert Proof.unpack(proof.pack(), SPEC).images == ()


def test_packing_loses_nothing():
    rng = np.random.default_rng(0)
    proof = record(Marks(), [scene((0, 3, 2), (3, 0, 0)), rng.integers(0, 256, (50, 70, 3), np.uint8)])
    again = Proof.unpack(proof.pack(), SPEC)
    assert again.pack() == proof.pack()
    assert again.least == proof.least
    for one, other in zip(proof.images, again.images, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(proof.detections, again.detections, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.labels, other.labels)
    for one, other in zip(proof.counts, again.counts, strict=True):
        np.testing.assert_array_equal(one, other)


class Anything(Marks):
    """Heads that find one object in each picture of any size."""

    def submit(self, images):
        loc = np.zeros((1, len(self._defaults), 4), np.float32)
        logits = np.zeros((1, len(self._defaults), self.spec.num_classes), np.float32)
        logits[..., 0], logits[0, 0, 1] = 8, 12
        return lambda: RawHeads(loc, logits)


@pytest.mark.slow
def test_a_proof_keeps_fewer_large_images():
    spec = small_spec(input_size=(512, 512))
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (512, 512, 3), np.uint8) for _ in range(4)]  # 768 KiB each, and incompressible
    proof = record(Anything(spec), noise)
    assert len(proof.images) == 1
    assert len(proof.pack()) <= MOST_BYTES


class Wrong(Marks):
    """The same heads with a fault."""

    def __init__(self, fault) -> None:
        super().__init__()
        self.fault = fault

    def detector(self, *_):
        inner, fault = HostDetector(self), self.fault

        class Faulty(HostDetector):
            def submit(self, frame):
                return inner.submit(frame[:, :, ::-1].copy() if fault == "swapped channels" else frame)

        if fault == "a shifted default box":
            inner._decode.defaults = inner._decode.defaults + np.asarray([0.02, 0, 0, 0], np.float32)
        if fault == "half are lost":
            original = inner._decode
            inner._decode = lambda *heads: original(*heads).above(1.1)
        return Faulty(self)


@pytest.mark.parametrize("fault", ["swapped channels", "a shifted default box", "half are lost"])
def test_a_planted_fault_is_caught(fault):
    proof = record(Marks(), [scene((0, 3, 2), (3, 0, 0)), BOLT, NUT])
    assert check(Marks(), proof, "INT8").holds
    assert not check(Wrong(fault), proof, "INT8").holds


# What is no proof.


def repacked(change):
    """Pack a proof and change its files: ``change`` gets them by name."""
    with zipfile.ZipFile(io.BytesIO(record(Marks(), [BOLT]).pack())) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    content = json.loads(files["proof.json"])
    change(files, content)
    files["proof.json"] = json.dumps(content).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def lossy_of(size):
    def change(files, content):
        import cv2

        files["0.webp"] = cv2.imencode(".webp", np.zeros((size, size, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 101])[1]
        files["0.webp"] = files["0.webp"].tobytes()

    return change


DAMAGE = {
    "no image": lambda files, content: files.pop("0.webp"),
    "an image of another size": lossy_of(64),
    "an image cut short": lambda files, content: files.update({"0.webp": files["0.webp"][:30]}),
    "no image at all": lambda files, content: files.update({"0.webp": b""}),
    "another version": lambda files, content: content.update(proof_version=99),
    "no list": lambda files, content: content.update(images=7),
    "no boxes": lambda files, content: content["images"][0].pop("boxes"),
    "not a number": lambda files, content: content["images"][0].update(scores=[float("nan")]),
    "boxes of three": lambda files, content: content["images"][0].update(boxes=[[1, 2, 3]]),
    "too few counts": lambda files, content: content["images"][0].update(counts=[]),
    "a label below 0": lambda files, content: content["images"][0].update(labels=[-1] * 9),
    "a class too many": lambda files, content: content["images"][0].update(
        labels=[7] * len(content["images"][0]["labels"])
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_a_sentence(damage):
    with pytest.raises(ProofError, match="export or calibrate the model again") as error:
        Proof.unpack(repacked(DAMAGE[damage]), SPEC)
    sentence(error)


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_an_archive_cut_short(cut):
    with pytest.raises(ProofError, match="cannot be read"):
        Proof.unpack(record(Marks(), [BOLT]).pack()[:cut], SPEC)


def test_a_bomb_is_not_unpacked():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("proof.json", b" " * (65 << 20))
    with pytest.raises(ProofError, match="too large"):
        Proof.unpack(packed.getvalue(), SPEC)


def test_a_proof_of_another_input_size():
    with pytest.raises(ProofError, match="64×64"):
        Proof.unpack(record(Marks(), [BOLT]).pack(), small_spec(input_size=(64, 64)))


def test_an_empty_engine_disagrees():
    proof = record(Marks(), [BOLT, NUT])

    class Blind(Marks):
        def detector(self, *_):
            blind = HostDetector(self)
            blind._decode = lambda *heads: Detections.empty()
            return blind

    assert not check(Blind(), proof, "INT8").holds
