"""The fuzzer itself: its samples are valid, its verdicts right; and a run of it, in bounds."""

from __future__ import annotations

import shutil
from time import monotonic

import pytest

from ssd_edge.models.registry import MODELS
from tests.fuzz.borders import BORDERS, make_damaged, make_samples
from tests.fuzz.run import Outcome, _note, cases_of, run_cases

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz") / "samples"
    make_samples(folder)
    yield folder
    del MODELS["tiny"]  # other tests of this process compare pages with the models that there are


@pytest.mark.parametrize("kind", sorted(BORDERS))
def test_the_samples_are_valid(samples, tmp_path, kind):
    for number, sample in enumerate(sorted((samples / kind).iterdir())):
        BORDERS[kind].read(shutil.copytree(sample, tmp_path / str(number)))


def test_a_seed_gives_the_same_damage_again(samples, tmp_path):
    for name in ("one", "other"):
        make_damaged(samples, "coco", 7, tmp_path / name)
    one, other = (sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("one", "other"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    assert len(cases_of(["a", "b"], 5, 1)) == len({*cases_of(["a", "b"], 5, 1)}) == 5
    assert not {*cases_of(["a"], 9, 1)} & {*cases_of(["a"], 9, 2)}


def test_verdicts():
    outcome = Outcome()
    for told in ({"answer": ""}, {"sentence": "one"}, {"sentence": "a\nb"}, {"sentence": ""}, {"traceback": "T"}):
        _note({"ends": f"a:{len(outcome.failures)}", **told}, outcome)
    assert (outcome.answers["a"], outcome.sentences["a"], len(outcome.failures)) == (1, 1, 3)


@pytest.mark.parametrize(
    ("planted", "said"),
    [("raise KeyError('x')", "KeyError"), ("os.abort()", "ended with -6"), ("bytearray(3 << 30)", "MemoryError")],
)
def test_a_planted_fault_is_named_and_the_others_still_run(samples, tmp_path, monkeypatch, planted, said):
    """The first case of a kind fails, the second does not."""
    plant = tmp_path / "sitecustomize.py"
    plant.write_text(
        "import os\nimport ssd_edge.spec as spec\nusual = spec.ModelSpec.from_text.__func__\n"
        f"def from_text(cls, text):\n    spec.ModelSpec.from_text = classmethod(usual)\n    {planted}\n"
        "spec.ModelSpec.from_text = classmethod(from_text)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    outcome = run_cases(["spec:1", "yolo:1"], samples, tmp_path / "run")
    assert list(outcome.failures) == ["spec:1"], outcome.failures
    case = "spec:1"
    assert said in outcome.failures[case]
    assert outcome.total == 2


def test_damaged_inputs_end_in_an_answer_or_a_sentence(samples, tmp_path):
    """As many as twenty seconds allow; ``python -m tests.fuzz`` makes more."""
    outcome = run_cases(cases_of(sorted(BORDERS), 1600, 0), samples, tmp_path, until=monotonic() + 20)
    assert outcome.failures == {}
    assert outcome.total >= 16


KEPT = (
    *("calibrate:10000039", "proof:10000041", "proof:10000101", "lint:10000048", "lint:10000086", "lint:10000137"),
    *("lint:20000186", "resume:20000001", "resume:20000178", "resume:20000202", "resume:20000296", "spec:20000242"),
    *("scales:20000058", "scales:20000324", "yolo:30000008", "scales:30000185"),
    *("proof:50000018", "voc:50000043", "voc:50000506", "description:50000057", "description:50000066"),
    *("description:50000075", "description:50000332"),
)
"""Cases that once ended in a traceback. They are other inputs after a change of the samples or of the damage."""


def test_cases_that_once_failed(samples, tmp_path):
    assert run_cases(KEPT, samples, tmp_path).failures == {}
