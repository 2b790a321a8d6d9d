"""The exact executor: layouts of Q/DQ against integer arithmetic, the sample model, and the checks of every engine."""

from __future__ import annotations

from contextlib import closing
from itertools import islice

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from ssd_edge.data.images import preprocessed
from ssd_edge.engines.cpu.exact import open_exact
from ssd_edge.engines.openvino import OpenVinoEngine
from ssd_edge.errors import ModelError
from ssd_edge.export import export_onnx
from ssd_edge.samples import SAMPLE_CHECKPOINT
from ssd_edge.training.checkpoints import load_checkpoint
from tests.calibration.chain import calibrate
from tests.engines.integer_heads import computed, images, write_integer_heads
from tests.engines.pipelining import CHECKS
from tests.helpers import small_spec

LAYOUTS = [
    pytest.param(unsigned, by_channel, id=f"{'uint8' if unsigned else 'int8'}-{'channel' if by_channel else 'tensor'}")
    for unsigned in (False, True)
    for by_channel in (True, False)
]

pytestmark = pytest.mark.int8


@pytest.mark.parametrize(("unsigned", "per_channel"), LAYOUTS)
def test_integers_come_out_bit_for_bit(tmp_path, unsigned, per_channel):
    """Tolerance 0: float32 holds every sum exactly, in any order of addition, on any processor."""
    path = write_integer_heads(tmp_path / "heads.onnx", unsigned=unsigned, per_channel=per_channel)
    with closing(open_exact(path, small_spec())) as engine:
        assert engine.precision == "INT8"
        for image in images():
            wanted = computed(image, unsigned=unsigned, per_channel=per_channel)
            for head, right in zip(engine.submit(image)(), wanted, strict=True):
                assert np.ptp(right) > 1
                np.testing.assert_array_equal(head, right)


def unoptimised(path):
    """Run the file in ONNX Runtime without optimisation, operator by operator."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(["loc", "logits"], {"image": image})


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The sample model as INT8 heads, their spec, and four images as they enter the network."""
    folder = tmp_path_factory.mktemp("sample")
    heads, int8 = folder / "heads.onnx", folder / "heads.int8.onnx"
    spec = export_onnx(load_checkpoint(SAMPLE_CHECKPOINT), heads, SAMPLE_CHECKPOINT)
    random = np.random.default_rng(0)
    frames = [np.kron(random.integers(0, 256, (30, 40, 3)), np.ones((16, 16, 1))).astype(np.uint8) for _ in range(8)]
    calibrate(heads, int8, preprocessed(frames, spec))
    return int8, spec, list(islice(preprocessed(frames, spec), 4))


def with_biases_off(path, part):
    """Copy the heads with float biases that are larger by this fraction."""
    model = onnx.load(path)
    biases = {node.input[2] for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2}
    for tensor in model.graph.initializer:
        if tensor.name in biases:
            changed = numpy_helper.to_array(tensor) * np.float32(1 + part)
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    onnx.save(model, path.with_name("off.onnx"))
    return path.with_name("off.onnx")


@pytest.mark.slow
def test_the_sample_model_comes_out_as_without_optimisation(sample):
    """In another order, the sum of 960 products in the widest layers is off by about √960 · 2⁻²⁴ = 2⁻¹⁹ of itself.

    Now and then that moves a value to the next step. The tolerance is twice the difference that the same file shows
    when its biases are off by as much.
    """
    path, spec, prepared = sample
    run, run_off = unoptimised(path), unoptimised(with_biases_off(path, 2**-19))
    tolerance = difference = 0.0
    with closing(open_exact(path, spec)) as engine:
        for image in prepared:
            wanted = run(image)[1]
            tolerance += 2 * float(np.abs(run_off(image)[1] - wanted).mean())
            difference += float(np.abs(engine.submit(image)().logits - wanted).mean())
    assert 0 < difference < tolerance


def test_fp32_heads(heads_onnx):
    with closing(open_exact(heads_onnx, small_spec())) as exact:
        assert (exact.backend, exact.precision) == ("exact", "FP32")
        image = np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)
        with closing(OpenVinoEngine(heads_onnx, small_spec(), "FP32")) as other:
            for a, b in zip(exact.submit(image)(), other.submit(image)(), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("check", CHECKS)
def test_submit(check, heads_onnx):
    with closing(open_exact(heads_onnx, small_spec())) as engine:
        assert engine.depth == 3
        check(engine, heads_onnx)


def test_no_file(tmp_path):
    with pytest.raises(ModelError, match=r"there is no file .*none\.onnx"):
        open_exact(tmp_path / "none.onnx", small_spec())
