"""Scales in JSON files and in TensorRT's calibration caches."""

from __future__ import annotations

import doctest
import struct

import numpy as np
import onnx
import pytest

from ssd_edge.calibration.network.policy import Policy
from ssd_edge.calibration.scales import interchange
from ssd_edge.calibration.scales.interchange import cache_header, read_scales, write_cache, write_scales
from ssd_edge.errors import CalibrationError
from tests.calibration.chain import calibrate, calibrate_with, every_scale
from tests.calibration.nets import images, saved, tiny_net

SCALES = {"image": float(np.float32(0.1)), "b/Relu:0": float(np.float32(1 / 3))}

NVIDIAS = """\
TRT-7000-EntropyCalibration2
data: 3c008912
conv1: 3c88edfc
pool1: 3c88edfc
conv2: 3ddc858b
pool2: 3ddc858b
ip1: 3db6bd6e
ip2: 3e691968
prob: 3c010a14
"""
"""A cache from the documentation of TensorRT's sample sampleINT8, "Calibration file"."""


def test_json_reads_back_exactly(tmp_path):
    write_scales(tmp_path / "scales.json", SCALES)
    assert read_scales(tmp_path / "scales.json") == SCALES


def test_a_cache_reads_back_exactly_as_float32(tmp_path):
    write_cache(tmp_path / "a.cache", SCALES, cache_header("8.5.2"))
    assert read_scales(tmp_path / "a.cache") == SCALES
    header, *lines = (tmp_path / "a.cache").read_text().splitlines()
    assert header == "TRT-8502-EntropyCalibration2"
    assert lines[0] == f"image: {struct.pack('>f', 0.1).hex()}" == "image: 3dcccccd"


def test_nvidias_own_example_is_read(tmp_path):
    """``prob`` comes from a softmax: its largest magnitude is 1 and its scale 1/127, within a histogram's accuracy."""
    (tmp_path / "theirs").write_text(NVIDIAS)
    scales = read_scales(tmp_path / "theirs")
    assert list(scales) == ["data", "conv1", "pool1", "conv2", "pool2", "ip1", "ip2", "prob"]
    assert scales["prob"] * 127 == pytest.approx(1, abs=0.001)
    write_cache(tmp_path / "ours", scales, "TRT-7000-EntropyCalibration2")
    assert (tmp_path / "ours").read_text() == NVIDIAS


def test_tensors_that_are_not_quantised_are_left_out_of_a_cache(tmp_path):
    (tmp_path / "a").write_text(
        "TRT-100300-EntropyCalibration2\n(Unnamed Layer* 1) [Constant]_output: 0\nx:0: 3c010a14\n\n"
    )
    assert list(read_scales(tmp_path / "a")) == ["x:0"]


def test_the_header_has_the_version_number():
    assert doctest.testmod(interchange).failed == 0
    assert cache_header("8.5") == "TRT-8500-EntropyCalibration2"
    assert cache_header("10.14.1.48") == "TRT-101401-EntropyCalibration2"


@pytest.mark.parametrize("version", ["11.0", "6.0.1", "ten", "", "8"])
def test_a_version_without_caches_is_refused(version):
    with pytest.raises(CalibrationError, match="TensorRT 7 to 10"):
        cache_header(version)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither a calibration cache of TensorRT nor valid JSON"),
        ("{", "neither a calibration cache of TensorRT nor valid JSON"),
        ("[]", "must hold an object of scales by tensor, but holds list"),
        ("{}", "holds no scales"),
        ('{"x": "y"}', "the scale of 'x' must be a number, but is 'y'"),
        ('{"x": true}', "the scale of 'x' must be a number"),
        ('{"x": 0}', "the scale of 'x' must be above 0 and finite, but is 0"),
        ('{"x": -1.5}', "must be above 0 and finite"),
        ('{"x": NaN}', "must be above 0 and finite, but is nan"),
        ('{"x": 1e-40}', "must be above 0 and finite"),
        ('{"x": 1e39}', "must be above 0 and finite"),
        (f'{{"x": 1{"0" * 400}}}', "holds a number that is no scale"),
        ("TRT-\nx: 3c010a14", "begins with 'TRT-'"),
        ("TRT-8502-EntropyCalibration2\n", "holds no scales"),
        ("TRT-8502-EntropyCalibration2\nx 3c010a14", "line 2: must be a tensor, a colon and a hexadecimal number"),
        ("TRT-8502-EntropyCalibration2\nx: 3c010a14ff", "line 2"),
        ("TRT-8502-EntropyCalibration2\nx: 7fc00000", "the scale of 'x' must be above 0 and finite, but is nan"),
        ("TRT-8502-EntropyCalibration2\nx: bc010a14", "must be above 0 and finite"),
    ],
)
def test_a_file_without_scales_is_refused(tmp_path, text, words):
    (tmp_path / "scales").write_text(text)
    with pytest.raises(CalibrationError, match=words) as caught:
        read_scales(tmp_path / "scales")
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(CalibrationError, match="cannot read"):
        read_scales(tmp_path / "absent")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CalibrationError, match="is neither"):
        read_scales(tmp_path / "bytes")
    with pytest.raises(CalibrationError, match="cannot write"):
        write_scales(tmp_path / "bytes" / "scales.json", SCALES)
    with pytest.raises(CalibrationError, match="cannot stand in a calibration cache"):
        write_cache(tmp_path / "a.cache", {"a\nb": 0.1}, cache_header("10.3"))
    assert not (tmp_path / "a.cache").exists()


@pytest.mark.parametrize("form", ["json", "cache"])
def test_scales_in_place_of_images_give_the_same_file(tmp_path, form):
    heads, first, second = saved(tiny_net(), tmp_path), tmp_path / "a.onnx", tmp_path / "b.onnx"
    result = calibrate(heads, first, images(), method="entropy", everything=True)
    if form == "json":
        write_scales(tmp_path / "scales", result.scales)
    else:
        write_cache(tmp_path / "scales", every_scale(result, "entropy"), cache_header("10.3"))
    again = calibrate_with(heads, second, read_scales(tmp_path / "scales"))
    assert again.scales == result.scales
    assert (again.num_images, again.observations) == (0, None)
    models = [onnx.load(path) for path in (first, second)]
    for model in models:
        del model.metadata_props[:]
    assert models[0] == models[1]


@pytest.mark.slow
def test_a_cache_holds_every_activation_of_the_fp32_file(tmp_path):
    """Tensors that folding removes, between a convolution and BatchNorm, need no scale, since TensorRT fuses them."""
    heads = saved(tiny_net(), tmp_path)
    result = calibrate(heads, tmp_path / "int8.onnx", images(), everything=True)
    every = every_scale(result, "mse")
    made = [name for node in onnx.load(heads).graph.node for name in node.output]
    assert set(every) == {"image", *made} - {"c"}
    assert all(np.isfinite(scale) and scale > 0 for scale in every.values())
    assert {name: every[name] for name in result.scales} == result.scales


def test_scales_that_lack_a_tensor_are_refused(tmp_path):
    heads, output = saved(tiny_net(), tmp_path), tmp_path / "int8.onnx"
    with pytest.raises(CalibrationError, match=r"lack 1 of the 2 tensors that need one \('e'\)"):
        calibrate_with(heads, output, {"image": 0.1, "other": 0.2})
    assert calibrate_with(heads, output, {"image": 0.1}, policy=Policy(skip=["loc", "logits"])).num_quantised == 1
