"""Batches: the same seed gives the same samples, whichever processes make them."""

from __future__ import annotations

import pytest
import torch

from ssd_edge.data.augment.catalogue import AUGMENTATIONS, make_augmentation
from ssd_edge.data.decoded import DecodedImages
from ssd_edge.errors import DataError
from ssd_edge.models.registry import make_spec
from ssd_edge.training.loading import TrainingSamples, batches_of, start_worker
from ssd_edge.training.run import Recipe


@pytest.mark.slow
@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_workers_do_not_change_the_samples(pictures, tiny, augmentation):
    """Two epochs over 0, 1 and 2 workers give the same bits."""
    spec = make_spec(tiny, ["bolt", "nut"])
    drawn = []
    for workers in (0, 1, 2):
        recipe = Recipe(tiny, batch_size=4, workers=workers, seed=7, augmentation=augmentation)
        loader = batches_of(*pictures, spec, recipe, 0).training
        batches = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            batches += list(loader)
        drawn.append(batches)
    assert len(drawn[0]) == 4
    for other in drawn[1:]:
        for first, second in zip(drawn[0], other, strict=True):
            assert first[3] == second[3]  # the files
            assert all(torch.equal(one, same) for one, same in zip(first[:3], second[:3], strict=True))


def test_a_worker_has_no_threads_of_its_own_and_keeps_no_memory(monkeypatch):
    called = []
    monkeypatch.setattr("cv2.setNumThreads", lambda number: called.append(number))
    monkeypatch.setattr("ssd_edge.training.loading.let_go_of_freed_memory", lambda: called.append("let go"))
    start_worker(0)
    assert called == [0, "let go"]


def test_samples_are_those_of_the_augmentation_that_was_chosen(pictures, tiny):
    spec = make_spec(tiny, ["bolt", "nut"])
    by_name = [TrainingSamples(DecodedImages(pictures[0].samples), spec, 5, name) for name in AUGMENTATIONS]
    assert any(not torch.equal(*(samples[0, k][0] for samples in by_name)) for k in range(8))


def test_an_augmentation_that_is_not_there(tiny):
    with pytest.raises(DataError, match="no augmentation is called 'strong'; there are mild, paper"):
        make_augmentation("strong", make_spec(tiny, ["bolt"]))
