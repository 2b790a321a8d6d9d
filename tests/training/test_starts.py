"""Trainings that begin with a whole detector: its own spec is kept, and published weights come from the cache."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import typer

from ssd_edge.cli.main import app
from ssd_edge.data.dataset import Dataset
from ssd_edge.errors import ModelError
from ssd_edge.export import compare, export_onnx
from ssd_edge.graph.session import open_session
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.starts import downloads
from ssd_edge.starts.convert import open_start, read_start
from ssd_edge.starts.downloads import Download
from ssd_edge.training.checkpoints import as_softmax, load_checkpoint, save_checkpoint
from ssd_edge.training.run import TrainingRun
from ssd_edge.training.train import train
from tests.helpers import ROOT, shared, small_spec
from tests.loopback import serving
from tests.starts.formula import weights
from tests.training.conftest import write_yolo
from tests.training.test_train import RECIPE

pytestmark = pytest.mark.usefixtures("tiny")
PEDESTRIAN = "weights/pedestrian_ssdlite/frozen_inference_graph.pb"


def own_spec():
    """Return a spec of ``tiny`` that differs from the registry's in all that a start may bring."""
    level, last = small_spec().levels
    levels = (replace(level, sizes=((0.25, 0.25), (0.4, 0.2), (0.2, 0.4)), step=(0.2, 0.2)), last)
    spec = make_spec("tiny", ["bolt", "nut"])
    return replace(
        spec,
        levels=levels,
        mean=(1.0, 2.0, 3.0),
        std=(4.0, 5.0, 6.0),
        channel_order="bgr",
        clip="cxcywh",
        clip_boxes="before-nms",
        variances=(0.2, 0.3),
        nms_iou=0.6,
        top_k=30,
        operating_scores={"nut": 0.7},
        provenance={"recipe": "its own"},
    )


def saved(path: Path, spec) -> Path:
    network = make_network(spec)
    save_checkpoint(path, network, spec)
    return path


def once(pictures: tuple[Dataset, Dataset], folder: Path, start: Path, **changes) -> TrainingRun:
    run = TrainingRun(*pictures, folder, replace(RECIPE, epochs=1, **changes), show_bar=False)
    train(run, start_from=start)
    return run


@pytest.mark.slow
def test_a_starts_own_spec_is_kept(pictures, tmp_path):
    """All but labels' thresholds and history; sizes that are asked for come before the start's."""
    start = saved(tmp_path / "start.pt", own_spec())
    run = once(pictures, tmp_path / "run", start)
    made = load_checkpoint(run.best).spec
    least = make_spec("tiny", ["bolt", "nut"])  # a start's limits are for its own objects, which may be few
    expected = replace(own_spec(), top_k=least.top_k, max_detections=least.max_detections)
    assert least.top_k > own_spec().top_k
    assert replace(made, provenance={}) == replace(expected, operating_scores={}, provenance={})
    assert made.provenance["recipe"] != "its own"
    asked = load_checkpoint(once(pictures, tmp_path / "asked", start, box_sizes="only").best).spec
    assert asked.levels == small_spec().levels
    assert (asked.clip, asked.mean) == (False, (1.0, 2.0, 3.0))


@pytest.mark.slow
def test_a_training_is_not_resumed_with_another_spec(pictures, tmp_path):
    """Without its start, the network would get other pixels from then on."""
    spec = replace(make_spec("tiny", ["bolt", "nut"]), mean=(1.0, 2.0, 3.0))
    run = once(pictures, tmp_path / "run", saved(tmp_path / "start.pt", spec))
    resumed = replace(run, resume=True, recipe=replace(run.recipe, epochs=2))
    with pytest.raises(ModelError, match=r"was trained with other mean \(1.0, 2.0, 3.0\), and not \(123.675"):
        train(resumed)
    assert train(resumed, start_from=tmp_path / "start.pt").epochs == 2


def test_sigmoids_become_a_softmax():
    """Of one class the scores stay the same: σ(x) = e^x / (e^0 + e^x)."""
    network = make_network(make_spec("tiny", ["bolt"])).eval()
    image = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32))
    with torch.no_grad():
        before = torch.sigmoid(network(image)[1])[..., 1]
        as_softmax(network)
        logits = network(image)[1]
    assert not logits[..., 0].any()
    torch.testing.assert_close(torch.softmax(logits, dim=-1)[..., 1], before, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_start_with_sigmoids_is_trained_with_a_softmax(pictures, tmp_path):
    start = saved(tmp_path / "start.pt", replace(own_spec(), score_function="sigmoid"))
    assert load_checkpoint(once(pictures, tmp_path / "run", start).best).spec.score_function == "softmax"


def test_a_detector_of_another_project_is_found_by_its_names(tmp_path):
    path = shared("weights/ultraface/version-RFB-320.pth")
    assert open_start(path).spec.architecture == "ultraface_rfb320"
    assert open_start(saved(tmp_path / "own.pt", own_spec())).spec.architecture == "tiny"
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "backbone.pth")
    with pytest.raises(ModelError, match=r"is no detector that is known: .* give it to --backbone-weights"):
        open_start(tmp_path / "backbone.pth")


@pytest.mark.slow
def test_the_pedestrian_graph_is_fine_tuned_and_exported(pictures, tmp_path):
    """Classes differ, so the class heads are begun anew; the regression heads hardly move at a rate of 1e-12.

    TensorFlow's padding becomes attributes of the convolutions, which engines take, and no nodes of its own.
    """
    run = TrainingRun(
        *pictures,
        tmp_path / "run",
        replace(
            RECIPE,
            model="ssdlite300_mobilenet_v2_tensorflow",
            epochs=1,
            optimiser=replace(RECIPE.optimiser, lr=1e-12),
        ),
        show_bar=False,
    )
    trained = train(run, start_from=shared(PEDESTRIAN))
    assert trained.tensors_left_out == tuple(
        sorted(f"class_heads.{k}.1.{kind}" for k in range(6) for kind in ("bias", "weight"))
    )
    network, start = load_checkpoint(trained.checkpoint), read_start(shared(PEDESTRIAN), "tf-graph")
    assert network.spec.mean == start.spec.mean
    torch.testing.assert_close(network.loc_heads[0][1].weight, start.loc_heads[0][1].weight, rtol=0, atol=1e-6)
    export_onnx(network, tmp_path / "heads.onnx")
    exported = onnx.load(tmp_path / "heads.onnx")
    assert "Pad" not in {node.op_type for node in exported.graph.node}
    session = open_session(exported.SerializeToString())

    class Heads(tuple):
        loc = property(lambda self: self[0])
        logits = property(lambda self: self[1])

    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 300, 300)).astype(np.float32)
    agreement = compare(network, lambda x: Heads(session.run(["loc", "logits"], {"image": x})), [image])
    assert max(agreement.loc, agreement.logits) < 1e-4


# --- train --start -------------------------------------------------------------------------------------------------


def served(address: str, name: str, content: bytes) -> Download:
    return Download(f"{address}/{name}", hashlib.sha256(content).hexdigest())


def arguments(pictures: tuple[Dataset, Dataset], folder: Path, *more: str) -> list[str]:
    data = folder / "data"
    if not data.exists():
        write_yolo(pictures[0], data)
    return [
        "train",
        str(data),
        "-o",
        str(folder / "run"),
        "--epochs",
        "1",
        "--workers",
        "0",
        "--batch-size",
        "4",
        *more,
    ]


@pytest.mark.slow
def test_coco_is_downloaded_once_and_trained(pictures, tmp_path, monkeypatch, capsys):
    """torchvision's layout; the network's name is what the file holds, and the second training needs no network."""
    shapes = json.loads(bytes(np.load(ROOT / "tests/starts/references/torchvision_ssdlite_reduced.npz")["shapes"]))
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(value) for name, value in weights(shapes).items()}, buffer)
    content = buffer.getvalue()
    with serving(monkeypatch, tmp_path, {"coco.pth": content}) as address:
        monkeypatch.setattr(downloads, "COCO", {downloads.COCO_MODEL: served(address, "coco.pth", content)})
        app(arguments(pictures, tmp_path, "--start", "coco"), standalone_mode=False)
    said = " ".join(capsys.readouterr().err.split())
    assert "tensors; left out because their shape differs: class_heads.0.1.bias, " in said
    assert (tmp_path / "cache/ssd-edge/starts/coco.pth").read_bytes() == content
    spec = load_checkpoint(tmp_path / "run/model.pt").spec
    assert (spec.architecture, spec.mean) == ("ssdlite320_mobilenet_v3_reduced", (127.5, 127.5, 127.5))
    assert spec.labels == ("bolt", "nut")


@pytest.mark.slow
def test_imagenet_gives_the_backbone(pictures, tmp_path, monkeypatch):
    buffer = io.BytesIO()
    torch.save(make_network(make_spec("tiny", ["bolt"])).backbone.state_dict(), buffer)
    content = buffer.getvalue()
    with serving(monkeypatch, tmp_path, {"tiny.pth": content}) as address:
        monkeypatch.setattr(downloads, "IMAGENET", {"tiny": served(address, "tiny.pth", content)})
        app(arguments(pictures, tmp_path, "--start", "imagenet", "--model", "tiny"), standalone_mode=False)
    assert "backbone_sha256" in load_checkpoint(tmp_path / "run/model.pt").spec.provenance


@pytest.mark.parametrize("option", ["--start", "--from"])
@pytest.mark.slow
def test_a_file_chooses_the_network(pictures, tmp_path, option):
    """No --model is needed; the older name of the option does the same."""
    start = saved(tmp_path / "start.pt", own_spec())
    app(arguments(pictures, tmp_path, option, str(start)), standalone_mode=False)
    assert load_checkpoint(tmp_path / "run/model.pt").spec.nms_iou == 0.6


def test_what_is_not_published(pictures, tmp_path):
    for start in ("coco", "imagenet"):
        with pytest.raises(
            ModelError, match=f"--start {start} is there for .*ssd300_vgg16.*, and not for tiny: choose"
        ):
            app(arguments(pictures, tmp_path, "--start", start, "--model", "tiny"), standalone_mode=False)
    with pytest.raises(ModelError, match="there is no file"):
        app(arguments(pictures, tmp_path, "--start", "cocoo"), standalone_mode=False)


def test_two_beginnings_contradict_each_other(pictures, tmp_path):
    line = arguments(pictures, tmp_path, "--start", "imagenet", "--backbone-weights", "x.pth")
    with pytest.raises(typer.BadParameter, match="drop --backbone-weights, or drop --start"):
        app(line, standalone_mode=False)
