"""ModelSpec: the values that it refuses, and its JSON form."""

from __future__ import annotations

import contextlib
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.errors import SpecError
from ssd_edge.spec import SPEC_VERSION, DefaultBoxLevel, ModelSpec
from tests.helpers import small_spec

LEVEL = {"grid": [2, 2], "step": [0.5, 0.5], "sizes": [[0.4, 0.4]]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input_size": (0, 32)}, "input_size"),
        ({"input_size": 300}, "two whole numbers"),
        ({"input_size": (300,)}, "two whole numbers"),
        ({"input_size": (300.5, 300)}, "two whole numbers"),
        ({"input_size": (True, True)}, "two whole numbers"),
        ({"input_size": ("300", "300")}, "two whole numbers"),
        ({"labels": "ab"}, "a list of names in quotes, but got 'ab'"),
        ({"labels": (1, 2)}, "a list of names in quotes"),
        ({"labels": (True,)}, "a list of names in quotes"),
        ({"levels": ("a",)}, "a list of default-box levels"),
        ({"clip": 1}, 'clip must be true, false or "cxcywh", but got 1'),
        ({"clip_boxes": True}, "clip_boxes must be one of"),
        ({"clip_boxes": "never"}, "clip_boxes must be one of"),
        ({"mean": (0.0, "1", 0.0)}, "three numbers"),
        ({"mean": (False, 1, 0.0)}, "three numbers"),
        ({"std": 1.0}, "three numbers"),
        ({"variances": 0.1}, "two numbers"),
        ({"score_threshold": "high"}, "score_threshold must be a number"),
        ({"nms_iou": None}, "nms_iou must be a number"),
        ({"top_k": 10.5}, "top_k must be a whole number"),
        ({"top_k": True}, "top_k must be a whole number"),
        ({"max_detections": "9"}, "max_detections must be a whole number"),
        ({"operating_scores": [0.5]}, "operating_scores must be numbers"),
        ({"operating_scores": {"bolt": "0.5"}}, "operating_scores must be numbers"),
        ({"provenance": "me"}, "provenance must be an object"),
        ({"architecture": None}, "architecture must be a name"),
        ({"labels": ()}, "at least one class"),
        ({"labels": ("a", "a")}, "differ"),
        ({"labels": tuple(map(str, range(4096)))}, "at most 4095"),
        ({"levels": ()}, "at least one feature map"),
        ({"levels": (DefaultBoxLevel((1024, 1024), (0.1, 0.1), ((0.5, 0.5),)),)}, "fewer than 1048576"),
        ({"channel_order": "gbr"}, "channel_order must be one of"),
        ({"box_order": "xyxy"}, "box_order must be one of"),
        ({"score_function": "relu"}, "score_function must be one of"),
        ({"mean": (0.0, 0.0)}, "three numbers"),
        ({"mean": (0.0, math.nan, 0.0)}, "three numbers"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be above 0"),
        ({"variances": (0.1, 0.0)}, "variances"),
        ({"variances": (0.1, math.inf)}, "variances"),
        ({"variances": (0.1, 0.2, 0.3)}, "variances"),
        ({"score_threshold": 0.0}, "score_threshold"),
        ({"score_threshold": math.nan}, "score_threshold"),
        ({"nms_iou": 0.0}, "nms_iou"),
        ({"nms_iou": 1.1}, "nms_iou"),
        ({"top_k": 0}, "top_k"),
        ({"max_detections": 0}, "max_detections"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(changes, said):
    with pytest.raises(SpecError, match=said) as error:
        small_spec(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ((0, 4), (0.1, 0.1), ((0.1, 0.1),)),
        ((4, 4), (0.0, 0.1), ((0.1, 0.1),)),
        ((4, 4), (0.1, 0.1), ()),
        ((4, 4), (0.1, 0.1), ((0.1, -0.1),)),
        ((4, 4), (0.1, 0.1), ((0.1, math.nan),)),
        ((4, 4), (0.1, 0.1), ((0.2,), (0.4,))),
        ((4, 4), (0.1, 0.1), (0.2, 0.4)),
        ((4, 4), (0.1, 0.1), ((0.2, 0.4, 0.6),)),
        ((4, 4), (0.1, 0.1), (("0.2", "0.4"),)),
        ((4, 4), (0.1,), ((0.1, 0.1),)),
        ((4, 4), 0.1, ((0.1, 0.1),)),
        ((4,), (0.1, 0.1), ((0.1, 0.1),)),
        ((4.5, 4), (0.1, 0.1), ((0.1, 0.1),)),
        ((True, True), (0.1, 0.1), ((0.1, 0.1),)),
    ],
)
def test_a_level_without_boxes_is_refused(arguments):
    with pytest.raises(SpecError, match="default-box level"):
        DefaultBoxLevel(*arguments)


def test_counts():
    spec = small_spec()
    assert spec.num_default_boxes == 4 * 4 * 3 + 2 * 2 * 2
    assert spec.num_classes == 3


def test_provenance_is_added_and_the_original_stays():
    spec = small_spec(provenance={"a": "1", "b": "2"})
    assert spec.with_provenance(b="3", c="4").provenance == {"a": "1", "b": "3", "c": "4"}
    assert spec.provenance == {"a": "1", "b": "2"}


fractions = st.floats(1e-6, 10, allow_nan=False)


def sides(longest, tall):
    """Two sides, the first of which is the longer one, or else the second: of an input, and of its grids."""
    return st.tuples(st.integers(1, longest), st.integers(1, longest)).map(lambda two: tuple(sorted(two, reverse=tall)))


def levels(tall):
    return st.builds(
        DefaultBoxLevel,
        grid=sides(50, tall),
        step=st.tuples(fractions, fractions),
        sizes=st.lists(st.tuples(fractions, fractions), min_size=1, max_size=6).map(tuple),
    )


def specs_of(tall):
    return st.builds(
        ModelSpec,
        architecture=st.text(max_size=10),
        input_size=sides(1000, tall),
        labels=st.lists(st.text(max_size=8), min_size=1, max_size=5, unique=True).map(tuple),
        levels=st.lists(levels(tall), min_size=1, max_size=3).map(tuple),
        channel_order=st.sampled_from(["rgb", "bgr"]),
        mean=st.tuples(*[st.floats(-1e3, 1e3)] * 3),
        std=st.tuples(*[st.floats(1e-3, 1e3)] * 3),
        clip=st.booleans(),
        clip_boxes=st.sampled_from(["after-nms", "before-nms"]),
        box_order=st.sampled_from(["xywh", "yxhw"]),
        score_function=st.sampled_from(["softmax", "sigmoid"]),
        variances=st.tuples(fractions, fractions),
        score_threshold=st.floats(0.001, 0.999),
        nms_iou=st.floats(0.001, 1),
        top_k=st.integers(1, 10**6),
        max_detections=st.integers(1, 10**6),
        provenance=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    )


specs = st.booleans().flatmap(specs_of)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(specs)
def test_json_round_trip_is_exact(spec):
    assert ModelSpec.from_text(spec.to_text()) == spec


def test_text_does_not_depend_on_the_order_of_provenance():
    one = small_spec(provenance={"a": "1", "b": "2"}).to_text()
    assert one == small_spec(provenance={"b": "2", "a": "1"}).to_text()
    assert "\n" not in one


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(sorted(small_spec().to_json())), value=anything)
def test_any_other_json_is_a_spec_or_one_sentence(key, value):
    changed = json.loads(json.dumps({**small_spec().to_json(), key: value}))
    with contextlib.suppress(SpecError):
        assert ModelSpec.from_json(changed).num_default_boxes >= 1


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", '"spec"', "{}", "[" * 100_000, json.dumps({"spec_version": SPEC_VERSION})],
)
def test_text_that_is_not_a_spec(text):
    with pytest.raises(SpecError):
        ModelSpec.from_text(text)


def test_labels_as_one_string_are_no_letters():
    with pytest.raises(SpecError, match="labels must be a list"):
        ModelSpec.from_json({**small_spec().to_json(), "labels": "person"})


def test_infinite_input_size():
    with pytest.raises(SpecError, match="input_size must be two whole numbers"):
        ModelSpec.from_json({**small_spec().to_json(), "input_size": [math.inf, 300]})


def test_a_field_of_another_tool_is_refused_by_name():
    with pytest.raises(SpecError, match="anchors"):
        ModelSpec.from_json({**small_spec().to_json(), "anchors": []})


@pytest.mark.parametrize("version", [99, 0, True, "1", None, [1]])
def test_another_version_says_what_to_do(version):
    with pytest.raises(SpecError, match=r"of version .*reads 1 to 2: export the model again"):
        ModelSpec.from_json({**small_spec().to_json(), "spec_version": version})


@pytest.mark.parametrize(("clip", "version"), [(False, 1), (True, 1), ("cxcywh", 2)])
def test_a_spec_is_of_the_oldest_version_that_can_hold_it(clip, version):
    """So an older ssd-edge reads what it can, and asks for a newer one for the rest."""
    spec = small_spec(clip=clip)
    assert spec.to_json()["spec_version"] == version
    assert ModelSpec.from_text(spec.to_text()) == spec


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"input_size": [4097, 300]}, r"input_size must be 1 … 4096 pixels, but got \(4097, 300\)"),
        ({"input_size": [10**4200, 300]}, "not a model spec"),
        ({"labels": ["a" * 1001]}, "a label has at most 1000 characters, but one has 1001"),
        ({"labels": [f"label {k}" for k in range(4096)]}, "at most 4095 labels, but got 4096"),
        ({"levels": [LEVEL | {"grid": [512, 512]}], "labels": [str(k) for k in range(500)]}, "at most 67108864 scores"),
        ({"levels": [LEVEL | {"grid": [2048, 2048]}]}, "fewer than 1048576 default boxes"),
        ({"levels": [LEVEL | {"grid": [10**3000, 10**3000]}]}, "not a model spec"),
        ({"top_k": 1.5}, "top_k must be a whole number"),
        ({"top_k": 10**12}, "top_k must be a whole number from 1"),
        ({"max_detections": "200"}, "max_detections must be a whole number"),
        ({"architecture": ["ssd"]}, "architecture must be a name"),
        ({"clip": "no"}, 'clip must be true, false or "cxcywh"'),
        ({"provenance": 5}, "provenance must be an object of texts"),
        ({"provenance": ["a"]}, "provenance must be an object of texts"),
        ({"channel_order": "x" * 100_000}, "channel_order must be one of .* …$"),
    ],
)
def test_a_spec_is_bounded_in_what_it_declares(change, reason):
    """A damaged or hostile spec takes neither the memory nor the screen."""
    valid = {
        "spec_version": 1,
        "architecture": "imported",
        "input_size": [32, 32],
        "labels": ["bolt"],
        "levels": [LEVEL],
    }
    assert ModelSpec.from_json(valid).labels == ("bolt",)
    with pytest.raises(SpecError, match=reason) as error:
        ModelSpec.from_json({**valid, **change})
    assert len(str(error.value)) < 700


def test_facts_that_are_no_text_become_text():
    content = {"spec_version": 1, "architecture": "a", "input_size": [32, 32], "labels": ["bolt"], "levels": [LEVEL]}
    assert ModelSpec.from_json({**content, "provenance": {"epochs": 3}}).provenance == {"epochs": "3"}


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, '{"a": "'], ids=["deep", "long", "cut"])
def test_text_that_json_does_not_read(text):
    with pytest.raises(SpecError, match="not valid JSON"):
        ModelSpec.from_text(text)
