"""eval --against, --leaks and the intervals, as typed."""

from __future__ import annotations

import json
import shutil

import pytest

from ssd_edge.graph.heads import write_heads
from tests.cli.test_operating import heads, labelled  # noqa: F401 - fixtures
from tests.helpers import small_spec
from tests.models_for_tests import marks_model


def test_intervals_are_printed(cli, heads, labelled):  # noqa: F811
    done = cli("eval", heads, labelled)
    assert done.code == 0, done.err
    assert "with each AP: its 95 % interval" in done.out
    value = json.loads(cli("eval", heads, labelled, "--json").out)
    low, high = value["intervals"]["ap50"]
    assert low <= value["ap50"] <= high


def test_two_models_on_the_same_images(cli, heads, labelled, tmp_path):  # noqa: F811
    other = shutil.copy(heads, tmp_path / "other.onnx")
    value = json.loads(cli("eval", heads, labelled, "--against", other, "--json").out)
    assert value["against"]["model"] == str(other)
    assert value["against"]["ap"] == value["ap"]
    assert value["changes"]["ap"] == {"change": 0, "interval": [0, 0], "confidence": 0.95}
    assert len(value["changes"]["per_class"]) == 2
    shown = cli("eval", heads, labelled, "--against", other)
    assert "+0.000…+0.000" in shown.out
    assert f"change from {other} to {heads}" in shown.err


def test_models_of_other_classes_are_refused(cli, heads, labelled, tmp_path):  # noqa: F811
    other = tmp_path / "other.onnx"
    write_heads(marks_model(), small_spec(labels=("bolt", "screw")), other)
    done = cli("eval", heads, labelled, "--against", other)
    assert done.code == 2
    assert "knows bolt, screw, and the first model bolt, nut" in " ".join(done.err.split())


def test_leaks(cli, heads, labelled):  # noqa: F811
    """The split for training has half of the images; of the others, one is a copy that was saved again."""
    done = cli("eval", heads, labelled, "--leaks")
    assert done.code == 2
    done.sentence("has no split for training to compare these images with: leave out --leaks")
    for folder in ("images", "labels"):
        for file in sorted((labelled / folder).iterdir()):
            part = "learnt" if int(file.stem) % 2 else "measured"
            (labelled / folder / part).mkdir(exist_ok=True)
            file.rename(labelled / folder / part / file.name)
    (labelled / "data.yaml").write_text("names: [bolt, nut]\ntrain: images/learnt\nval: images/measured\n")
    shutil.copy(labelled / "images" / "learnt" / "03.png", labelled / "images" / "measured" / "99.png")
    shutil.copy(labelled / "labels" / "learnt" / "03.txt", labelled / "labels" / "measured" / "99.txt")
    value = json.loads(cli("eval", heads, labelled, "--split", "val", "--leaks", "--json").out)["leaks"]
    assert value["known_images"] >= 1
    assert value["ap_without"] is None or 0 <= value["ap_without"] <= 1
    shown = cli("eval", heads, labelled, "--split", "val", "--leaks")
    assert f"{value['known_images']} of 7 images look like one of the split for training" in shown.err


@pytest.mark.parametrize("missing", ["nothing.onnx"])
def test_an_other_model_that_is_not_there(cli, heads, labelled, missing):  # noqa: F811
    assert cli("eval", heads, labelled, "--against", labelled / missing).code == 2
