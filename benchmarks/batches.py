"""Images/s of batches on the processor, compared with one image at a time: why CPU engines take single frames."""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import openvino
from building import SSDLITE300
from figure import Figure

from ssd_edge.export import export_onnx
from ssd_edge.graph.free_batch import with_free_batch
from ssd_edge.machine.summary import summary
from ssd_edge.training.checkpoints import load_checkpoint

BATCHES = (2, 4, 8)
ROUNDS, IMAGES = 5, 48
_CONFIG = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}  # as the backend has it


def measure() -> Figure:
    """Measure the SSDLite of 300x300 on OpenVINO: the backend's own form, and a free batch, in turns."""
    network = load_checkpoint(SSDLITE300)
    core = openvino.Core()
    with tempfile.TemporaryDirectory() as scratch:
        single, free = Path(scratch) / "single.onnx", Path(scratch) / "free.onnx"
        export_onnx(network.eval(), single)
        onnx.save(with_free_batch(onnx.load(single)), free)
        models = {1: core.compile_model(str(single), "CPU", _CONFIG)}
        models |= {batch: core.compile_model(str(free), "CPU", _CONFIG) for batch in BATCHES}
    ratios: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for number in range(1 + ROUNDS):
        rates = {batch: _rate(model, batch, network.spec.input_size) for batch, model in models.items()}
        for batch in BATCHES if number else ():  # the first round warms up
            ratios[batch].append(rates[batch] / rates[1])
    of_each = {batch: median(values) for batch, values in ratios.items()}
    value = max(of_each.values())
    return Figure(
        "batches",
        value,
        "images/s of the best batch / images/s one by one, on the processor",
        "<= 1.1: above it, CPU engines should take batches",
        value <= 1.1,
        {"ratio": of_each, "machine": summary()},
        ", ".join(f"batch {batch}: {ratio:.2f}" for batch, ratio in of_each.items()),
    )


def _rate(model: Any, batch: int, size: tuple[int, int]) -> float:
    requests = [model.create_infer_request() for _ in range(2)]  # as many as the backend has
    for request in requests:
        request.set_input_tensor(openvino.Tensor(np.random.default_rng(0).random((batch, 3, *size), np.float32)))
    pending: deque[Any] = deque()
    began = perf_counter()
    for number in range(IMAGES // batch):
        if len(pending) == len(requests):
            pending.popleft().wait()
        requests[number % 2].start_async()
        pending.append(requests[number % 2])
    while pending:
        pending.popleft().wait()
    return IMAGES / (perf_counter() - began)
