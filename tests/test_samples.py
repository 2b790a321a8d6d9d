"""The sample model, which must be the one that its README describes."""

from __future__ import annotations

from ssd_edge.files import sha256
from ssd_edge.samples import SAMPLE_CHECKPOINT
from ssd_edge.training.checkpoints import load_checkpoint


def test_hash_size_and_recipe() -> None:
    readme = SAMPLE_CHECKPOINT.with_name("README.md").read_text()
    assert sha256(SAMPLE_CHECKPOINT) in readme
    assert SAMPLE_CHECKPOINT.stat().st_size <= 12 * 2**20
    spec = load_checkpoint(SAMPLE_CHECKPOINT).spec
    assert spec.labels == ("Platelets", "RBC", "WBC")
    assert spec.input_size == (480, 640)
    assert spec.provenance["dataset_split"] == "trainval"
    for said in ("'epochs': 50", "'batch_size': 16", "'lr': 0.02", "'seed': 0"):
        assert said in spec.provenance["recipe"]
