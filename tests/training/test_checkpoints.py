"""Checkpoints: what is read back, and what is refused in one sentence."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest
import torch

from ssd_edge.errors import ModelError, SpecError
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.spec import METADATA_KEY
from ssd_edge.training.checkpoints import (
    describe_taken,
    load_checkpoint,
    load_matching,
    read_torch_file,
    save_checkpoint,
    write_torch_file,
)
from tests.helpers import shared

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def network(tiny):
    torch.manual_seed(0)
    return make_network(make_spec(tiny, ["bolt", "nut"]))


def test_round_trip(network, tmp_path):
    path = tmp_path / "new" / "folder" / "model.pt"
    save_checkpoint(path, network, network.spec.with_provenance(dataset="screws"))
    loaded = load_checkpoint(path)
    assert not loaded.training
    assert loaded.spec.labels == ("bolt", "nut")
    assert loaded.spec.provenance["dataset"] == "screws"
    assert len(loaded.spec.provenance["checkpoint_sha256"]) == 64
    theirs, ours = loaded.state_dict(), network.state_dict()
    assert list(theirs) == list(ours)
    assert all(torch.equal(theirs[key], ours[key]) for key in ours)
    images = torch.randn(2, 3, 32, 32)
    for a, b in zip(loaded(images), network.eval()(images), strict=True):
        assert torch.equal(a, b)


def test_half_is_half_the_size_and_loads_as_float32(network, tmp_path):
    save_checkpoint(tmp_path / "whole.pt", network, network.spec)
    save_checkpoint(tmp_path / "half.pt", network, network.spec, half=True)
    sizes = {
        name: sum(v.nbytes for v in read_torch_file(tmp_path / name)["state_dict"].values() if v.is_floating_point())
        for name in ("whole.pt", "half.pt")
    }
    assert sizes["half.pt"] * 2 == sizes["whole.pt"]
    loaded, ours = load_checkpoint(tmp_path / "half.pt").state_dict(), network.state_dict()
    for key, value in ours.items():
        assert loaded[key].dtype == value.dtype
        torch.testing.assert_close(loaded[key], value, rtol=1e-3, atol=1e-6)


def test_half_keeps_what_fp16_cannot_hold(network, tmp_path):
    network.backbone.features[0][1].running_var[0] = 1e6
    save_checkpoint(tmp_path / "half.pt", network, network.spec, half=True)
    assert load_checkpoint(tmp_path / "half.pt").backbone.features[0][1].running_var[0] == 1e6


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        load_checkpoint(path)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


def test_no_such_file(tmp_path):
    assert "there is no file" in refused(tmp_path / "model.pt")


def test_a_folder(tmp_path):
    refused(tmp_path)


class Payload:
    """An object that runs code when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("was-executed"),))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt"
    torch.save({METADATA_KEY: "{}", "state_dict": {"a": Payload()}}, path, _use_new_zipfile_serialization=zipped)
    assert "read safely" in refused(path)
    assert not Path("was-executed").exists()
    path.write_bytes(pickle.dumps(Payload()))
    refused(path)
    assert not Path("was-executed").exists()


def test_truncated_at_any_place(network, tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(path, network, network.spec)
    whole = path.read_bytes()
    for length in (0, 1, 10, 1000, len(whole) // 2, len(whole) - 1000, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path)


def test_a_bit_that_flips_is_noticed_or_changes_nothing(tmp_path):
    """Each byte of a small file in turn; what lies between its parts, to align them, has no meaning."""
    path = tmp_path / "model.pt"
    write_torch_file(path, {"a": torch.arange(50.0), "b": "text", "c": 3})
    whole, numbers, noticed = path.read_bytes(), torch.arange(50.0), 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            content = read_torch_file(path)
        except ModelError:
            noticed += 1
            continue
        assert torch.equal(content.pop("a"), numbers)
        assert content == {"b": "text", "c": 3}
    assert noticed > numbers.nbytes + 300  # each byte of the weights and of what describes them


def test_a_checkpoint_without_checksums_is_read(network, tmp_path):
    """torch.save wrote no checksums before version 1.6."""
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    content = {METADATA_KEY: network.spec.to_text(), "state_dict": weights}
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert load_checkpoint(tmp_path / "old.pt").spec.labels == ("bolt", "nut")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_one_sentence(network, tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "model.pt", network, network.spec)
    before = (tmp_path / "model.pt").read_bytes()

    def full(path, data):
        with Path("/dev/full").open("wb", buffering=0) as file:
            return file.write(data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ModelError, match=r"cannot write .*model.pt: No space left on device; an earlier"):
        save_checkpoint(tmp_path / "model.pt", network, network.spec)
    assert (tmp_path / "model.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_damage_is_a_model_error_whatever_torch_makes_of_it(tmp_path, zipped):
    path = tmp_path / "model.pt"
    torch.save({"state_dict": {"a": torch.zeros(9), "b": [1, "c"]}}, path, _use_new_zipfile_serialization=zipped)
    whole, chance = path.read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 3, 20])):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])])
        try:
            read_torch_file(path)
        except ModelError as error:
            assert "\n" not in str(error)  # noqa: PT017 - undamaged in effect is fine too


def test_a_file_without_a_spec_says_where_it_belongs(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    assert "--backbone-weights" in refused(tmp_path / "weights.pt")


def test_somebody_elses_weights():
    assert "no model spec" in refused(shared("weights/ultraface/version-RFB-320.pth"))


def test_no_dict(tmp_path):
    torch.save([1, 2], tmp_path / "model.pt")
    assert "must hold a dict of weights, but holds list" in refused(tmp_path / "model.pt")


@pytest.mark.parametrize("state", [3, [], {"network.a": 3}, {1: "x"}])
def test_a_state_that_is_none(network, tmp_path, state):
    torch.save({METADATA_KEY: network.spec.to_text(), "state_dict": state}, tmp_path / "model.pt")
    assert "must hold tensors by name" in refused(tmp_path / "model.pt")


def test_weights_of_another_shape(network, tmp_path):
    other = make_spec("tiny", ["bolt", "nut", "gear"])
    save_checkpoint(tmp_path / "model.pt", network, other)
    assert "do not fit tiny" in refused(tmp_path / "model.pt")


def test_weights_missing(network, tmp_path):
    torch.save({METADATA_KEY: network.spec.to_text(), "state_dict": {}}, tmp_path / "model.pt")
    assert "do not fit tiny" in refused(tmp_path / "model.pt")


def test_an_architecture_of_another_version(network, tmp_path):
    text = network.spec.to_text().replace('"tiny"', '"ssd9000"')
    torch.save({METADATA_KEY: text, "state_dict": {}}, tmp_path / "model.pt")
    with pytest.raises(ModelError, match="no model is called 'ssd9000'"):
        load_checkpoint(tmp_path / "model.pt")
    torch.save({METADATA_KEY: text.replace('"spec_version": 1', '"spec_version": 3'), "state_dict": {}}, tmp_path / "a")
    with pytest.raises(SpecError, match="of version 3"):
        load_checkpoint(tmp_path / "a")


def test_matching_weights_are_taken_and_the_others_named(network):
    other = make_network(make_spec("tiny", ["bolt", "nut", "gear"]))
    left_out = load_matching(other, network.state_dict() | {"unknown": torch.zeros(1)}, network.spec.labels)
    assert left_out == sorted(f"class_heads.{k}.{kind}" for k in (0, 1) for kind in ("weight", "bias"))
    assert torch.equal(other.loc_heads[0].weight, network.loc_heads[0].weight)
    assert torch.equal(other.backbone.features[1][1].running_var, network.backbone.features[1][1].running_var)


def taken(network, weights) -> str:
    return describe_taken(Path("old.pt"), network, weights, load_matching(network, weights, network.spec.labels))


def test_what_was_taken_is_said(network):
    """One sentence for each of: everything, other shapes, tensors missing there, tensors unknown here, long lists."""
    weights = network.state_dict()
    total = len(weights)
    assert taken(network, weights) == f"taken from old.pt: {total} of {total} tensors"
    other = make_network(make_spec("tiny", ["bolt", "nut", "gear"]))
    said = f"taken from old.pt: {total - 4} of {total} tensors; left out because their shape differs: "
    heads = "class_heads.0.bias, class_heads.0.weight, class_heads.1.bias, class_heads.1.weight"
    assert taken(other, weights) == f"{said}{heads} (trained from scratch)"
    fewer = {name: value for name, value in weights.items() if name != "loc_heads.0.bias"} | {"odd": torch.zeros(1)}
    assert taken(network, fewer) == (
        f"taken from old.pt: {total - 1} of {total} tensors; missing there: loc_heads.0.bias (trained from scratch); "
        "left out because this model has no such tensor: odd"
    )
    names = ", ".join(sorted(weights)[:3])
    assert taken(network, {}) == (
        f"taken from old.pt: 0 of {total} tensors; missing there: {names} and {total - 3} more (trained from scratch)"
    )
