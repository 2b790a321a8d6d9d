"""What was built on another processor, opened here: the same pixels, and engines that find what they found there."""

from __future__ import annotations

import platform
from contextlib import closing

import cv2
import numpy as np
import pytest

from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.engines.proof.verify import verify_bundle
from ssd_edge.preprocess import preprocess
from tests.aarch64.made_elsewhere import BACKENDS, FOLDER, PHOTO, PRECISIONS

pytestmark = pytest.mark.skipif(
    platform.machine() != "aarch64" or not FOLDER.is_dir(),
    reason="opens on aarch64 what another processor made: make test-aarch64",
)

# Sums of float32 in another order differ by 2^-24 of their largest part each; 64 layers of sums of 2^7 such steps that
# all go one way make 2^-11 of the largest value. One weight or pixel that is wrong makes more.
FLOAT32_SUMS = 2.0**-11


@pytest.fixture(scope="module")
def there() -> dict[str, np.ndarray]:
    """The photo, the network's input, and each backend's heads, as they were there."""
    with np.load(FOLDER / "photo.npz") as arrays:
        return dict(arrays)


def test_a_photo_is_the_same_bits_from_file_to_input(there):
    photo = cv2.imread(str(PHOTO))
    np.testing.assert_array_equal(photo, there["photo"])
    with closing(load_bundle(FOLDER / "sample.onnxruntime.engine")) as engine:
        np.testing.assert_array_equal(preprocess(photo, engine.spec), there["image"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_engine_finds_in_the_photo_what_it_found_there(there, backend):
    with closing(load_bundle(FOLDER / f"sample.{backend}.engine")) as engine:
        assert engine.backend == backend
        raw = engine.submit(there["image"])()
        for name in ("loc", "logits"):
            wanted = there[f"{backend}.{name}"]
            np.testing.assert_allclose(getattr(raw, name), wanted, rtol=0, atol=FLOAT32_SUMS * np.abs(wanted).max())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bundle_agrees_with_its_proof(precision):
    results = list(verify_bundle(FOLDER / f"marks.{precision}.engine"))
    assert [(one.plan.backend, one.plan.precision) for one in results] == [
        (name, precision.upper()) for name in BACKENDS
    ]
    assert [one.status for one in results] == ["right"] * len(BACKENDS), [one.reason for one in results]
