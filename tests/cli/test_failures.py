"""``eval --report`` and ``check-data --model``, as typed."""

from __future__ import annotations

import json

import pytest

from tests.cli.test_operating import heads, labelled  # noqa: F401 - fixtures


def test_eval_writes_a_page(cli, heads, labelled, tmp_path):  # noqa: F811
    page = tmp_path / "errors.html"
    done = cli("eval", heads, labelled, "--report", page, "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)["failures"]
    assert result["errors"]["background"]["small"] > 0  # half of the red marks have no label
    assert result["lost_ap50"]["background"]["nut"] > 0
    assert result["lost_ap50"]["background"]["bolt"] == 0
    text = page.read_text()
    assert "The costliest kind of error is background" in text
    assert "http://" not in text
    assert "<script" not in text


def test_eval_says_at_once_that_the_page_cannot_be_written(cli, heads, labelled, tmp_path):  # noqa: F811
    done = cli("eval", heads, labelled, "--report", tmp_path)
    assert done.code == 2
    assert "directory" in done.err
    assert "AP50" not in done.out


def test_check_data_lists_marks_without_labels(cli, heads, labelled, tmp_path):  # noqa: F811
    page = tmp_path / "doubts.html"
    done = cli("check-data", labelled, "--model", heads, "--report", page, "--json")
    assert done.code == 0, done.err
    doubts = json.loads(done.out)["doubts"]
    missing = [one for one in doubts if one["kind"] == "missing box"]
    assert {one["suggested_label"] for one in missing} == {"nut"}
    assert [one["certainty"] for one in doubts] == sorted((one["certainty"] for one in doubts), reverse=True)
    assert "Doubtful labels of set" in page.read_text()
    shown = cli("check-data", labelled, "--model", heads)
    assert "labels compared: " in shown.out


def test_a_page_of_doubts_needs_a_model(cli, labelled, tmp_path):  # noqa: F811
    done = cli("check-data", labelled, "--report", tmp_path / "doubts.html")
    assert done.code == 2
    assert "add --model" in done.err


@pytest.mark.parametrize("command", ["eval", "check-data"])
def test_a_model_of_other_classes_is_refused(cli, heads, labelled, command):  # noqa: F811
    (labelled / "data.yaml").write_text("names: [cat, dog]\ntrain: images\n")
    words = (heads, labelled) if command == "eval" else (labelled, "--model", heads)
    done = cli(command, *words)
    assert done.code == 2
