"""The table of the kernels: its arithmetic against results by hand, and its goal against reports that miss it."""

from __future__ import annotations

from dataclasses import replace

import pytest

kernel_table = pytest.importorskip("kernel_table")
sass = pytest.importorskip("sass")
pytest.importorskip("cuda.bindings")


def test_bytes_by_hand():
    boxes, labels, top_k, most = 8732, 20, 400, 200
    moved = kernel_table.bytes_moved("SSD300, 20 classes")
    assert moved == {
        "ssd_preprocess_fp32": 720 * 1280 * 3 + 600 * 8 + 3 * 300 * 300 * 4,
        "ssd_preprocess_fp16": 720 * 1280 * 3 + 600 * 8 + 3 * 300 * 300 * 2,
        # loc, logits, default boxes → boxes, scores
        "ssd_decode_fp32": boxes * (16 + 4 * 21 + 16) + boxes * (16 + 4 * labels),
        "ssd_decode_fp16": boxes * (8 + 2 * 21 + 16) + boxes * (16 + 4 * labels),
        # scores, the boxes of the best → their boxes and scores, a number a class
        "ssd_select": boxes * 4 * labels + labels * top_k * 16 + labels * top_k * (16 + 4) + labels * 4,
        # their scores, the boxes of the best, numbers → boxes, scores, classes, two numbers
        "ssd_merge": labels * top_k * 4 + most * 16 + labels * 4 + most * (16 + 4 + 4) + 8,
    }


def test_no_more_boxes_are_read_than_there_are():
    labels, top_k = 90, 400
    moved = kernel_table.bytes_moved("SSD300, 90 classes")
    assert labels * top_k > 8732
    assert moved["ssd_select"] == 8732 * 4 * labels + 8732 * 16 + labels * top_k * 20 + labels * 4


needs_disassembler = pytest.mark.skipif(sass.disassembler() is None, reason="nvdisasm is not installed: make test")


@needs_disassembler
@pytest.mark.slow
def test_preprocess_has_no_fp64_on_any_architecture():
    for architecture, counted in kernel_table.sass().items():
        for name, one in counted.items():
            assert one.all > 500, name
            assert one.loads > 10, name
            assert one.double == 0, (architecture, name)


@needs_disassembler
def test_fp64_and_barriers_are_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / "double.cu"
    source.write_text(
        'extern "C" __global__ void twice(const int *x, float *y) { __shared__ float s[32]; int t = threadIdx.x;\n'
        "s[t] = float(double(x[t]) * 0.1); __syncthreads(); y[t] = s[31 - t]; }\n"
    )
    images = kernel_table.compile_kernels("sm_87", source=source).images
    one = sass.instructions(next(data for image, data in images.items() if image.kind == "cubin"))["twice"]
    assert one.double == 3  # to double, times, to float
    assert (one.barriers, one.loads) == (1, 1)


@needs_disassembler
@pytest.mark.slow
def test_the_figure():
    figure = kernel_table.measure()
    assert figure.met
    assert figure.value == max(report.shared for report in kernel_table.reports()["sm_87"]) / 1024
    decode = figure.detail["bytes moved and least microseconds, by arithmetic"]["SSD300, 20 classes"]["ssd_decode_fp32"]
    assert decode["AGX Orin"] == pytest.approx(decode["bytes"] / 204.8e9 * 1e6)
    assert decode["RTX 4090"] == pytest.approx(decode["bytes"] / 1008e9 * 1e6)
    assert "arithmetic" in figure.beside


@needs_disassembler
@pytest.mark.parametrize("change", [{"spills": 8}, {"stack": 4}, {"shared": 48 * 1024}])
def test_the_goal_can_be_missed(monkeypatch, change):
    reports = dict(kernel_table.reports())
    first, *others = reports["sm_87"]
    reports["sm_87"] = (replace(first, **change), *others)
    monkeypatch.setattr(kernel_table, "reports", lambda: reports)
    assert not kernel_table.measure().met


@needs_disassembler
def test_the_goal_can_be_missed_by_fp64(monkeypatch):
    counted = {"sm_87": {"ssd_preprocess_fp16": kernel_table.Instructions(900, 1, 0, 9)}}
    monkeypatch.setattr(kernel_table, "sass", lambda: counted)
    assert not kernel_table.measure().met


@needs_disassembler
def test_the_tables_are_markdown():
    text = kernel_table.table()
    assert "| sm_120 | ssd_select |" in text
    assert "| NV12 frames | ssd_preprocess_fp16 | 1.93 |" in text
    widths = [{line.count("|") for line in part.splitlines()} for part in text.split("\n\n")]
    assert widths == [{9}, {6}, {6}]
