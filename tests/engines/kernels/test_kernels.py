"""The kernels, executed on a CPU, against the NumPy reference: the same bits, stage by stage.

The reference is ``ssd_edge/preprocess.py``, ``boxes.py``, ``arithmetic.py`` and ``decode.py``, which have their own
tests against independent numbers. Unless a test says otherwise, results are compared bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge import arithmetic, boxes
from ssd_edge.decode import Decoder, nms
from ssd_edge.engines.kernels.launch import (
    Buffer,
    Launch,
    between_buffers,
    check_limits,
    decode_launches,
    preprocess_launch,
    preprocess_taps,
    result_buffers,
)
from ssd_edge.errors import BackendError
from ssd_edge.models.registry import make_spec
from ssd_edge.pixels import packed
from ssd_edge.preprocess import preprocess
from ssd_edge.spec import ClipBoxes, ModelSpec, Resize
from tests.cuda.build import KernelLibrary, kernel_library
from tests.helpers import small_spec

Arrays = dict[str, npt.NDArray[Any]]


@pytest.fixture(scope="module")
def kernels() -> KernelLibrary:
    return kernel_library()


def run(kernels: KernelLibrary, launches: Iterable[Launch], memory: Arrays, seed: int = 1) -> Arrays:
    for one in launches:
        arguments = [memory[a] if isinstance(a, str) else a for a in one.arguments]
        kernels.launch(one.kernel, one.grid, one.block, arguments, seed)
    return memory


def rubbish(buffers: Mapping[str, Buffer]) -> Arrays:
    """Make a buffer of garbage, which a kernel must overwrite."""
    return {
        name: np.full(buffer.shape, -7 if buffer.dtype == np.int32 else np.nan, buffer.dtype)
        for name, buffer in buffers.items()
    }


def decode_on_cpu(
    kernels: KernelLibrary, spec: ModelSpec, loc: Any, logits: Any, half: bool = False, seed: int = 1
) -> Arrays:
    """Run decode, select and merge of a batch, and return all buffers."""
    dtype = np.float16 if half else np.float32
    with np.errstate(over="ignore"):
        heads = {"loc": np.ascontiguousarray(loc, dtype), "logits": np.ascontiguousarray(logits, dtype)}
    batch = len(loc)
    memory = {"defaults": boxes.default_boxes(spec), **heads}
    memory |= rubbish({**between_buffers(spec, batch), **result_buffers(spec, batch)})
    return run(kernels, decode_launches(spec, batch, half), memory, seed)


def assert_equals_host_decode(
    kernels: KernelLibrary, spec: ModelSpec, loc: Any, logits: Any, half: bool = False, seed: int = 1
) -> Arrays:
    memory = decode_on_cpu(kernels, spec, loc, logits, half, seed)
    decoder = Decoder(spec)
    for image in range(len(loc)):
        heads = (memory[name][image].astype(np.float32) for name in ("loc", "logits"))
        wanted = decoder(*heads, (1, 1))
        number = int(memory["num_detections"][image])
        assert number == len(wanted)
        np.testing.assert_array_equal(memory["scores"][image, :number], wanted.scores)
        np.testing.assert_array_equal(memory["classes"][image, :number], wanted.labels)
        # The host cuts boxes at the frame's edge while it scales them to pixels.
        np.testing.assert_array_equal(np.clip(memory["boxes"][image, :number], 0, 1), wanted.boxes)
        assert memory["num_cut"][image] == wanted.num_cut
        np.testing.assert_array_equal(memory["scores"][image, number:], 0)
        np.testing.assert_array_equal(memory["classes"][image, number:], -1)
        np.testing.assert_array_equal(memory["boxes"][image, number:], 0)
    return memory


# ---- preprocess

FRAME_SIZES = [
    (480, 640),
    (768, 576),
    (100, 100),
    (37, 511),
    (600, 600),
    (300, 300),
    (1, 1),
    (2, 3),
    (720, 1280),
    (1, 900),
]


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("how", ["linear", "area"])
@pytest.mark.parametrize("frame_size", FRAME_SIZES)
def test_preprocess(kernels: KernelLibrary, frame_size: tuple[int, int], how: Resize, order: str, half: bool) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*frame_size, 3), dtype=np.uint8)
    for size in ((300, 300), (240, 320)):
        spec = replace(small_spec(), input_size=size, channel_order=order, resize=how)
        image = np.full((1, 3, *size), np.nan, np.float16 if half else np.float32)
        launch = preprocess_launch(spec, packed("BGR", frame_size), half)
        run(kernels, [launch], {"frame": frame, "taps": preprocess_taps(spec, frame_size), "image": image})
        np.testing.assert_array_equal(image, preprocess(frame, spec).astype(image.dtype))


# ---- decode, select and merge, each on its own


@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
@pytest.mark.parametrize("labels", [1, 20, 31, 32, 90])
def test_decode_alone(kernels: KernelLibrary, labels: int, score_function: str) -> None:
    spec = small_spec(
        labels=tuple(f"label {i}" for i in range(labels)), score_function=score_function, box_order="yxhw"
    )
    rng = np.random.default_rng(labels)
    loc = rng.normal(0, 3, (2, spec.num_default_boxes, 4)).astype(np.float32)
    logits = rng.normal(0, 4, (2, spec.num_default_boxes, spec.num_classes)).astype(np.float32)
    loc[0, 5, 2] = np.nan
    memory = decode_on_cpu(kernels, spec, loc, logits)
    for image in range(2):
        wanted = boxes.decode(loc[image][:, [1, 0, 3, 2]], memory["defaults"], spec.variances)
        np.testing.assert_array_equal(memory["all_boxes"][image], wanted)
        scores = getattr(arithmetic, score_function)(logits[image])[:, 1:]
        scores[~(scores > np.float32(spec.score_threshold))] = 0
        if image == 0:
            scores[5] = 0
        np.testing.assert_array_equal(memory["all_scores"][image], scores.T)


def test_exp_is_the_references_for_every_kind_of_float(kernels: KernelLibrary) -> None:
    """exp is read from the sides of boxes, which are exp(loc · variance) times a default box of size 1."""
    level = small_spec().levels[0]
    spec = small_spec(levels=(replace(level, grid=(100, 100), sizes=((1.0, 1.0),)),), variances=(0.1, 1.0))
    rng = np.random.default_rng(0)
    kinds = np.concatenate(
        [
            rng.integers(0, 2**32, 8000, np.uint64).astype(np.uint32).view(np.float32),  # any bits at all
            rng.uniform(-90, 90, 8000).astype(np.float32),
            np.linspace(88.70, 88.75, 2000, dtype=np.float32),  # where infinity begins
            np.linspace(-87.35, -87.32, 2000, dtype=np.float32),  # where subnormals would
        ]
    )
    loc = np.zeros((1, 10000, 4), np.float32)
    loc[0, :, 2:] = rng.permutation(kinds).reshape(10000, 2)
    memory = decode_on_cpu(kernels, spec, loc, np.zeros((1, 10000, spec.num_classes), np.float32))
    with np.errstate(invalid="ignore"):  # inf − inf, of boxes that are no candidates
        np.testing.assert_array_equal(memory["all_boxes"][0], boxes.decode(loc[0], memory["defaults"], spec.variances))


@pytest.mark.parametrize("candidates", [0, 1, 5, 399, 400, 401, 1023, 1024, 1025, 2500])
@pytest.mark.parametrize("top_k", [1, 400, 1024])
def test_select_alone(kernels: KernelLibrary, candidates: int, top_k: int) -> None:
    """Scores come from a handful of values, so that nearly all are ties; overlaps are dense."""
    spec = replace(make_spec("ssdlite320_mobilenet_v3_large", ["one", "two"]), top_k=top_k)
    rng = np.random.default_rng(candidates)
    number = spec.num_default_boxes
    scores = np.zeros((1, 2, number), np.float32)
    corner = rng.uniform(0, 0.8, (number, 2))
    box = np.concatenate([corner, corner + rng.uniform(0, 0.3, (number, 2))], axis=1).astype(np.float32)
    for label in range(2):
        where = rng.choice(number, candidates, replace=False)
        scores[0, label, where] = rng.choice(np.asarray([0.011, 0.5, 0.500001, 1.0], np.float32), candidates)
    memory = rubbish(between_buffers(spec, 1)) | {"all_boxes": box[None], "all_scores": scores}
    run(kernels, decode_launches(spec, 1, False)[1:2], memory)
    for label in range(2):
        order = np.lexsort((np.arange(number), -scores[0, label]))[: min(candidates, top_k)]
        keep = nms(box[order], np.full(len(order), label), spec.nms_iou)
        n = len(order)
        np.testing.assert_array_equal(memory["kept_scores"][0, label, :n], np.where(keep, scores[0, label, order], 0))
        np.testing.assert_array_equal(memory["kept_boxes"][0, label, :n], np.where(keep[:, None], box[order], 0))
        np.testing.assert_array_equal(memory["kept_scores"][0, label, n:], 0)
        assert memory["cut"][0, label] == candidates - n


@pytest.mark.parametrize("kept", [0, 1, 199, 200, 201, 1500])
def test_merge_alone(kernels: KernelLibrary, kept: int) -> None:
    spec = replace(make_spec("ssdlite320_mobilenet_v3_large", [f"label {i}" for i in range(7)]), top_k=300)
    rng = np.random.default_rng(kept)
    scores = np.zeros(7 * 300, np.float32)
    scores[rng.choice(len(scores), kept, replace=False)] = rng.choice(np.asarray([0.02, 0.3, 0.9], np.float32), kept)
    memory = rubbish(result_buffers(spec, 1)) | {
        "kept_scores": scores,
        "kept_boxes": rng.uniform(0, 1, (7 * 300, 4)).astype(np.float32),
        "cut": rng.integers(0, 1000, (1, 7), np.int32),
    }
    run(kernels, decode_launches(spec, 1, False)[2:], memory)
    order = np.lexsort((np.arange(len(scores)), -scores))[: min(kept, spec.max_detections)]
    n = len(order)
    assert memory["num_detections"][0] == n
    np.testing.assert_array_equal(memory["scores"][0, :n], scores[order])
    np.testing.assert_array_equal(memory["classes"][0, :n], order // 300)
    np.testing.assert_array_equal(memory["boxes"][0, :n], memory["kept_boxes"][order])
    assert memory["num_cut"][0] == memory["cut"].sum()


# ---- all three against the host decode


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 3),
    labels=st.integers(1, 5),
    score_function=st.sampled_from(["softmax", "sigmoid"]),
    box_order=st.sampled_from(["xywh", "yxhw"]),
    threshold=st.sampled_from([0.001, 0.01, 0.3, 0.9]),
    top_k=st.sampled_from([1, 3, 400]),
    coarse=st.booleans(),
    spread=st.sampled_from([0.0, 1.0, 5.0]),
    half=st.booleans(),
    clip_boxes=st.sampled_from(["after-nms", "before-nms"]),
)
def test_random_heads(
    kernels: KernelLibrary,
    seed,
    batch,
    labels,
    score_function,
    box_order,
    threshold,
    top_k,
    coarse,
    spread,
    half,
    clip_boxes,
) -> None:
    spec = small_spec(
        labels=tuple("abcde"[:labels]),
        score_function=score_function,
        box_order=box_order,
        score_threshold=threshold,
        top_k=top_k,
        max_detections=20,
        clip_boxes=clip_boxes,
    )
    rng = np.random.default_rng(seed)
    loc = rng.normal(0, spread, (batch, spec.num_default_boxes, 4))
    logits = rng.normal(0, 3, (batch, spec.num_default_boxes, spec.num_classes))
    if coarse:  # ties, in numbers
        logits = np.round(logits / 4) * 4
    assert_equals_host_decode(kernels, spec, loc, logits, half, seed % 1000)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("clip_boxes", ["after-nms", "before-nms"])
def test_not_a_number(
    kernels: KernelLibrary, bad: float, score_function: str, half: bool, clip_boxes: ClipBoxes
) -> None:
    spec = small_spec(score_function=score_function, score_threshold=0.3, clip_boxes=clip_boxes)
    rng = np.random.default_rng(1)
    loc = rng.normal(0, 1, (1, spec.num_default_boxes, 4))
    logits = rng.normal(0, 3, (1, spec.num_default_boxes, spec.num_classes))
    logits[0, ::5, 1] = bad
    logits[0, 1::7] = bad
    loc[0, 2::9, 3] = bad
    loc[0, 3, 2] = 6e4  # finite, of infinite size
    loc[0, 4, 3] = -6e4  # of no size
    memory = assert_equals_host_decode(kernels, spec, loc, logits, half)
    assert memory["num_detections"][0] > 5


def test_all_boxes_equal(kernels: KernelLibrary) -> None:
    """With many copies of one default box and one score, the first box of each class is kept."""
    level = small_spec().levels[0]
    spec = small_spec(levels=(replace(level, grid=(1, 1), sizes=((0.5, 0.5),) * 700),))
    logits = np.zeros((1, 700, spec.num_classes), np.float32)
    memory = assert_equals_host_decode(kernels, spec, np.zeros((1, 700, 4), np.float32), logits)
    assert memory["num_detections"][0] == len(spec.labels)
    assert memory["num_cut"][0] == len(spec.labels) * (700 - spec.top_k)


def test_no_score_above_the_threshold(kernels: KernelLibrary) -> None:
    spec = small_spec(score_threshold=0.99)
    logits = np.zeros((2, spec.num_default_boxes, spec.num_classes), np.float32)
    memory = assert_equals_host_decode(kernels, spec, np.zeros((2, spec.num_default_boxes, 4), np.float32), logits)
    assert not memory["num_detections"].any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "labels", "batch", "half"),
    [
        ("ssd300_vgg16", 1, 1, False),
        ("ssd300_vgg16", 20, 3, True),
        ("ssd300_vgg16", 90, 1, False),
        ("ssd512_vgg16", 20, 1, True),
        ("ssdlite300_mobilenet_v2", 90, 1, True),
    ],
)
def test_real_sizes(kernels: KernelLibrary, architecture: str, labels: int, batch: int, half: bool) -> None:
    spec = replace(make_spec(architecture, [f"label {i}" for i in range(labels)]), top_k=400 if labels == 1 else 50)
    assert architecture != "ssd512_vgg16" or spec.num_default_boxes == 24564
    rng = np.random.default_rng(2)
    loc = rng.normal(0, 1, (batch, spec.num_default_boxes, 4))
    logits = rng.normal(0, 2, (batch, spec.num_default_boxes, spec.num_classes))
    logits[..., 0] += 3
    for image in range(batch):  # objects: clusters of boxes that agree
        for start in rng.integers(0, spec.num_default_boxes - 20, 40):
            logits[image, start : start + 12, rng.integers(1, spec.num_classes)] += 9
    memory = assert_equals_host_decode(kernels, spec, loc, logits, half)
    assert (memory["num_detections"] == spec.max_detections).all()
    assert (memory["num_cut"] > 0).all()


def test_any_order_of_threads_and_blocks_gives_the_same_bits(kernels: KernelLibrary) -> None:
    spec = small_spec()
    rng = np.random.default_rng(3)
    loc = rng.normal(0, 1, (1, spec.num_default_boxes, 4))
    logits = np.round(rng.normal(0, 1, (1, spec.num_default_boxes, spec.num_classes)))
    first = decode_on_cpu(kernels, spec, loc, logits, seed=0)
    for seed in range(1, 6):
        for name, array in decode_on_cpu(kernels, spec, loc, logits, seed=seed).items():
            np.testing.assert_array_equal(array, first[name])


# ---- limits of the kernels


@pytest.mark.parametrize(
    ("change", "batch", "what"),
    [({"top_k": 1025}, 1, "top_k"), ({"max_detections": 2000}, 1, "max_detections"), ({}, 70000, "batch")],
)
def test_limits(change: dict[str, int], batch: int, what: str) -> None:
    check_limits(small_spec(), 1)
    with pytest.raises(BackendError, match=f"hold {what} up to"):
        check_limits(small_spec(**change), batch)
