"""Files made to do harm when they are read: nothing in them is executed, expanded or followed."""

from __future__ import annotations

import io
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from ssd_edge.calibration.scales.state import StateFile
from ssd_edge.data.readers import open_dataset
from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.errors import DataError, ModelError, SsdEdgeError
from ssd_edge.graph.files import read_model
from ssd_edge.models.registry import MODELS
from ssd_edge.spec import METADATA_KEY
from ssd_edge.training.checkpoints import load_checkpoint, read_torch_file
from tests.fuzz.borders import make_samples
from tests.models_for_tests import tiny_model


class Harm:
    """An object that makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture
def mark(tmp_path):
    """A file that must not come to be."""
    path = tmp_path / "harm"
    yield path
    assert not path.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["state_dict", METADATA_KEY, "other"])
def test_a_pickle_in_a_checkpoint(tmp_path, mark, zipped, place):
    content = {METADATA_KEY: "{}", "state_dict": {}, place: Harm(mark)}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    for read in (load_checkpoint, read_torch_file):
        with pytest.raises(ModelError, match="read safely"):
            read(tmp_path / "a.pt")


def test_a_pickle_in_the_state_of_a_calibration(tmp_path, mark):
    state = StateFile(tmp_path / "a.partial", "key")
    packed = io.BytesIO()
    np.savez(packed, key=np.array([Harm(mark)], object))
    for content in (packed.getvalue(), pickle.dumps(Harm(mark))):
        state.path.write_bytes(content)
        assert state.begin(b"", ["image"]).num_images == 0
        assert state.stale


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "samples"
    make_samples(folder)
    yield folder
    del MODELS["tiny"]  # other tests of this process compare pages with the models that there are


@pytest.fixture
def sample(samples, tmp_path):
    """Function that copies the first valid sample of a kind."""
    import shutil

    return lambda kind: Path(shutil.copytree(samples / kind / "0", tmp_path / kind))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "names: !!python/object/apply:pathlib.Path.touch [{mark}]",
        "!!python/object/new:os.system [touch {mark}]",
        "names: !!python/name:os.system ''",
    ],
)
def test_yaml_tags(sample, mark, text):
    """A tag makes nothing: what it stands before is a text or a list of texts."""
    folder = sample("yolo")
    (folder / "data.yaml").write_text(text.replace("{mark}", str(mark)))
    with suppress(DataError):
        labels = open_dataset(folder).labels
        assert all(isinstance(label, str) for label in labels)


@pytest.mark.slow
def test_an_xml_bomb_and_an_xml_that_reads_files(sample, tmp_path):
    """Ten entities, each ten times the one before: 10⁹ letters; and an entity that is a file."""
    folder = sample("voc")
    (tmp_path / "secret").write_text("secret")
    entities = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10}">' for k in range(1, 10))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "aaaaaaaaaa">{entities}]><annotation><filename>&e9;</filename></annotation>'
    outside = (
        f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]><annotation><filename>&x;</filename></annotation>'
    )
    (folder / "Annotations" / "0.xml").write_text(bomb)
    (folder / "Annotations" / "1.xml").write_text(outside)
    with pytest.raises(DataError) as error:
        open_dataset(folder)
    assert "secret" not in str(error.value)
    assert len(str(error.value)) < 2000


@pytest.mark.slow
def test_names_that_lead_elsewhere(sample, tmp_path):
    """A label file names pictures above its folder, or absolutely; a bundle, a plan there."""
    folder = sample("coco")
    file = folder / "annotations" / "instances_train.json"
    for name in ("../../secret.png", "/etc/passwd", "..\\\\secret.png", "C:/secret.png"):
        file.write_text(file.read_text().replace("0.png", name, 1))
        dataset = open_dataset(folder)
        assert len(dataset) == 1
        assert any("leads out of" in issue.detail for issue in dataset.issues)
        file.write_text(file.read_text().replace(name, "0.png", 1))
    bundle = sample("bundle") / "a.engine"
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace("heads.xml", "../heads.xml"))
    with pytest.raises(SsdEdgeError):
        read_manifest(bundle)


def test_weights_outside_the_models_folder(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(4096))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    for location in ("../secret", str(tmp_path / "secret"), "link"):
        model = tiny_model()
        onnx.external_data_helper.set_external_data(model.graph.initializer[0], location)
        model.graph.initializer[0].ClearField("raw_data")
        model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
        (tmp_path / "in" / "a.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match="outside its own folder"):
            read_model(tmp_path / "in" / "a.onnx")
