"""Checks of ``submit`` that every engine must pass; the reference is ONNX Runtime without an engine around it."""

from __future__ import annotations

from collections import deque

import numpy as np
import onnxruntime
import pytest

from ssd_edge.errors import BackendError

TOLERANCE = 1e-4
"""Of values of a few units: the runtimes order their sums differently."""


def frames(count, seed=0):
    rng = np.random.default_rng(seed)
    for k in range(count):
        yield rng.normal(0, 1 + k % 3, (1, 3, 32, 32)).astype(np.float32)


def reference(onnx):
    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    return lambda image: session.run(["loc", "logits"], {"image": image})


def agree(actual, wanted):
    for head, right in zip(actual, wanted, strict=True):
        assert head.dtype == np.float32
        np.testing.assert_allclose(head, right, rtol=TOLERANCE, atol=TOLERANCE)


def check_one_after_another(engine, onnx):
    run = reference(onnx)
    for image in frames(20):
        agree(engine.submit(image)(), run(image))


def check_depth_in_flight(engine, onnx):
    """Keep ``depth`` frames under way, with no reference to their inputs but the engine's."""
    run = reference(onnx)
    wanted = deque(run(image) for image in frames(300))
    pending = deque()
    for image in frames(300):
        if len(pending) == engine.depth:
            agree(pending.popleft()(), wanted.popleft())
        pending.append(engine.submit(image))
        del image
    while pending:
        agree(pending.popleft()(), wanted.popleft())
    assert not wanted


def check_results_stay_until_depth_more_submissions(engine, onnx):
    run = reference(onnx)
    held = deque()
    for image in frames(50, seed=1):
        finish = engine.submit(image)
        for actual, wanted in held:
            agree(actual, wanted)
        held.append((finish(), run(image)))
        if len(held) == engine.depth:
            held.popleft()


def check_results_in_any_order(engine, onnx):
    run = reference(onnx)
    first, second = frames(2, seed=2)
    for _ in range(20):
        one, two = engine.submit(first), engine.submit(second)
        agree(two(), run(second))
        agree(one(), run(first))


def check_wrong_input_is_an_error_and_no_end(engine, onnx):
    run = reference(onnx)
    for shape in ((1, 3, 16, 16), (1, 1, 32, 32)):
        with pytest.raises(BackendError) as error:
            engine.submit(np.zeros(shape, np.float32))()
        assert "\n" not in str(error.value)
        (image,) = frames(1, seed=3)
        agree(engine.submit(image)(), run(image))


CHECKS = (
    check_one_after_another,
    check_depth_in_flight,
    check_results_stay_until_depth_more_submissions,
    check_results_in_any_order,
    check_wrong_input_is_an_error_and_no_end,
)
