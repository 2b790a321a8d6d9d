"""What does not fit is named as the file names it; other files are refused in one sentence."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from ssd_edge.errors import ModelError
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.starts.catalogue import SOURCES
from ssd_edge.starts.convert import fitted, import_start, read_start
from ssd_edge.starts.labels import COCO_80, COCO_91, VOC, labels_of
from ssd_edge.starts.layout import Source
from ssd_edge.training.checkpoints import load_checkpoint, save_checkpoint
from tests.starts.formula import weights

REFERENCES = Path(__file__).parent / "references"
MB2 = "qfgaohao_mb2_ssd_lite"


@pytest.fixture(scope="module")
def mb2() -> dict[str, torch.Tensor]:
    shapes = json.loads(bytes(np.load(REFERENCES / f"{MB2}.npz")["shapes"]))
    return {name: torch.from_numpy(value) for name, value in weights(shapes).items()}


def qfgaohao() -> Source:
    return SOURCES["qfgaohao"].load()


def refusal(state) -> str:
    with pytest.raises(ModelError) as caught:
        fitted(state, qfgaohao(), Path("mb2.pth"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_left_over_and_other_shapes_are_named_and_counted(mb2):
    state = dict(mb2)
    for k in range(5):
        del state[f"base_net.{k + 2}.conv.0.weight"]
    state["fc.weight"] = torch.zeros(3)
    state["extras.3.conv.6.weight"] = torch.zeros(128, 64, 1, 1)
    assert refusal(state) == (
        "the tensors in mb2.pth do not fit mb2_ssd_lite: 5 are missing: base_net.2.conv.0.weight, "
        "base_net.3.conv.0.weight, base_net.4.conv.0.weight and 2 more; 1 is left over: fc.weight; 1 is of another "
        "shape: extras.3.conv.6.weight [128, 64, 1, 1] in place of [64, 64, 1, 1]"
    )


def test_a_file_of_another_project_says_whose_it_is(mb2):
    with pytest.raises(ModelError, match=r"is no detector of lufficc/SSD: .*: its names are those of --from qfgaohao$"):
        fitted(mb2, SOURCES["lufficc"].load(), Path("mb2.pth"))


def test_files_without_counters_of_batches_fit(mb2):
    state = {name: value for name, value in mb2.items() if not name.endswith("num_batches_tracked")}
    assert len(state) < len(mb2)
    assert fitted(state, qfgaohao(), Path("mb2.pth")).spec.labels == ("class 1", "class 2", "class 3")


def test_another_network_is_refused_by_what_it_holds(mb2):
    state = {name: value for name, value in mb2.items() if not name.startswith("class")}
    assert refusal(state) == (
        "mb2.pth is no detector of qfgaohao/pytorch-ssd: a tensor must be called classification_headers.0.bias or "
        "classification_headers.0.3.bias, but it holds base_net.0.0.weight, base_net.0.1.weight, base_net.0.1.bias and "
        f"{len(state) - 3} more: choose another --from"
    )
    assert "but it holds no tensors" in refusal({})


@pytest.mark.parametrize("values", [0, 6, 7])
def test_a_class_head_of_an_impossible_size(mb2, values):
    refused = refusal({**mb2, "classification_headers.0.3.bias": torch.zeros(values)})
    assert f"must have 6 values for each class and background, but has {values}" in refused


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", ["", "model", "state_dict", "module."])
def test_files_as_training_scripts_write_them(mb2, tmp_path, wrapped):
    """Bare, beside an optimizer's state, or of DataParallel; the checkpoint has the same weights."""
    content = {f"module.{name}": value for name, value in mb2.items()} if wrapped == "module." else dict(mb2)
    torch.save({wrapped: content, "epoch": 3} if wrapped in {"model", "state_dict"} else content, tmp_path / "mb2.pth")
    network = import_start(tmp_path / "mb2.pth", "qfgaohao", tmp_path / "model.pt", "a, b ,c")
    assert network.spec.labels == ("a", "b", "c")
    assert network.spec.provenance["parent"] == "mb2.pth"
    again = load_checkpoint(tmp_path / "model.pt")
    assert again.spec.architecture == "mb2_ssd_lite"
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_options_beside_the_weights_are_read_and_not_used(mb2, tmp_path):
    """torchvision's references/detection/train.py saves argparse's Namespace."""
    torch.save({"model": mb2, "args": Namespace(lr=0.1, output=Path("x").name)}, tmp_path / "mb2.pth")
    assert read_start(tmp_path / "mb2.pth", "qfgaohao").spec.architecture == "mb2_ssd_lite"


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_nothing_in_a_file_is_executed(mb2, tmp_path):
    torch.save({"model": {**mb2}, "args": Evil(tmp_path / "ran")}, tmp_path / "mb2.pth")
    with pytest.raises(ModelError, match="cannot be read safely as a checkpoint"):
        read_start(tmp_path / "mb2.pth", "qfgaohao")
    assert not (tmp_path / "ran").exists()


def test_other_files(tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(ModelError, match="there is no file"):
        read_start(path, "torchvision")
    network = make_network(make_spec("ultraface_rfb320", ["face"]))
    save_checkpoint(path, network, network.spec)
    with pytest.raises(ModelError, match="is a checkpoint of ssd-edge already"):
        read_start(path, "ultraface")
    torch.save({"epoch": 3}, path)
    with pytest.raises(ModelError, match="must hold a state_dict"):
        read_start(path, "ultraface")
    with pytest.raises(ModelError, match=r"--from must be one of torchvision, .*, but got 'keras'"):
        read_start(path, "keras")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["ssd300_vgg16", "ssd512_vgg16"])
def test_every_tensor_of_a_network_has_its_own_name_in_each_layout(architecture):
    """ssd.pytorch and lufficc/SSD: no two of our tensors share a name of theirs."""
    with torch.device("meta"):
        own = list(make_network(make_spec(architecture, ["a"])).state_dict())
    for source in ("amdegroot", "lufficc"):
        for layout in SOURCES[source].load().layouts:
            assert len({layout.theirs(name) for name in own}) == len(own)


# --- class names ---------------------------------------------------------------------------------------------------


def test_names_of_published_data_sets():
    assert (len(VOC), len(COCO_91), len(COCO_80)) == (20, 90, 80)
    assert len(set(COCO_91)) == 90
    assert COCO_91[0] == COCO_80[0] == "person"
    assert (COCO_91[89], COCO_80[79], COCO_91[12], COCO_80[11]) == (
        "toothbrush",
        "toothbrush",
        "stop sign",
        "stop sign",
    )
    assert labels_of("", 20, VOC) == VOC


@pytest.mark.parametrize(
    "content", ["bolt\nnut\n", "\ufeffBACKGROUND\r\nbolt\r\n\r\n nut", "__background__\nbolt\nnut"]
)
def test_names_from_a_file(tmp_path, content):
    (tmp_path / "labels.txt").write_bytes(content.encode())
    assert labels_of(str(tmp_path / "labels.txt"), 2, None) == ("bolt", "nut")


def test_wrong_names(tmp_path):
    for given in ("bolt", "bolt,nut,gear", ",,", "background"):
        with pytest.raises(ModelError, match="--labels must name 2 classes, background apart, but names"):
            labels_of(given, 2, None)
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ModelError, match="cannot read the class names"):
        labels_of(str(tmp_path / "labels.txt"), 2, None)
