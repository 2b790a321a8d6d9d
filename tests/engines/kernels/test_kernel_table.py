"""The table of the kernels: its arithmetic against results by hand, and its goal against reports that miss it."""

from __future__ import annotations

from dataclasses import replace

import pytest

kernel_table = pytest.importorskip("kernel_table")
pytest.importorskip("cuda.bindings")


def test_bytes_by_hand():
    boxes, labels, top_k, most = 8732, 20, 400, 200
    moved = kernel_table.bytes_moved("SSD300, 20 classes")
    assert moved == {
        "ssd_preprocess_fp32": 720 * 1280 * 3 + 3 * 300 * 300 * 4,
        "ssd_preprocess_fp16": 720 * 1280 * 3 + 3 * 300 * 300 * 2,
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


@pytest.mark.slow
def test_the_figure():
    figure = kernel_table.measure()
    assert figure.met
    assert figure.value == max(report.shared for report in kernel_table.reports()["sm_87"]) / 1024
    decode = figure.detail["bytes moved and least microseconds, by arithmetic"]["SSD300, 20 classes"]["ssd_decode_fp32"]
    assert decode["AGX Orin"] == pytest.approx(decode["bytes"] / 204.8e9 * 1e6)
    assert decode["RTX 4090"] == pytest.approx(decode["bytes"] / 1008e9 * 1e6)
    assert "arithmetic" in figure.beside


@pytest.mark.parametrize("change", [{"spills": 8}, {"stack": 4}, {"shared": 48 * 1024}])
def test_the_goal_can_be_missed(monkeypatch, change):
    reports = dict(kernel_table.reports())
    first, *others = reports["sm_87"]
    reports["sm_87"] = (replace(first, **change), *others)
    monkeypatch.setattr(kernel_table, "reports", lambda: reports)
    assert not kernel_table.measure().met


def test_the_tables_are_markdown():
    text = kernel_table.table()
    assert "| sm_120 | ssd_select |" in text
    widths = [{line.count("|") for line in part.splitlines()} for part in text.split("\n\n")]
    assert widths == [{6}, {6}]
