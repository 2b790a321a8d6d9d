"""Training by several processes, as on several GPUs or machines: gloo between two on this CPU."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ssd_edge.errors import ModelError
from ssd_edge.training.checkpoints import read_torch_file
from ssd_edge.training.experiment import read_rows
from ssd_edge.training.loading import Shuffled
from ssd_edge.training.loss import matched_boxes
from ssd_edge.training.processes import ALONE, Share, launched_with, speaks

ROOT = Path(__file__).parents[2]


def train_in(folder: Path, processes: int, *words: str) -> str:
    """Train in that many processes, started by torchrun, and return what they print."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port), "tests/training/together.py", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run([*command, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_torch_file(folder / "run" / "model.pt")["state_dict"]


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """A training by two processes: its folder, and what they printed."""
    folder = tmp_path_factory.mktemp("two")
    return folder, train_in(folder, 2, "4")


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(by_two, tmp_path):
    """The same batches, losses, AP and weights, but for the order of sums of float32; only the first process speaks.

    12 steps at a rate of 0.01 and gradients of norm 1 at most move a weight by 0.12 at most, and a sum of some hundred
    float32 terms is exact to 1e-5 of them: a weight may differ by some 1e-6.
    """
    folder, said_by_two = by_two
    said = train_in(tmp_path, 1, "4")
    assert said.count("learns from 27 images") == said_by_two.count("learns from 27 images") == 1
    one, two = (read_rows(trained / "run" / "curves.csv") for trained in (tmp_path, folder))
    assert [row.step for row in one] == [row.step for row in two] == [3, 6, 9, 12]
    for name in ("loss", "loss_loc", "loss_conf", "lr"):
        np.testing.assert_allclose(
            [getattr(row, name) for row in two], [getattr(row, name) for row in one], rtol=2e-5, err_msg=name
        )
    assert one[0].loss != one[-1].loss
    assert [row.ap50 for row in one] == [row.ap50 for row in two]
    for name, value in weights(tmp_path).items():
        torch.testing.assert_close(weights(folder)[name], value, rtol=0, atol=5e-6)


@pytest.mark.slow
def test_two_processes_resume_to_the_bit(by_two, tmp_path):
    """4 epochs in one go, and 4 of which the last 2 are resumed; the recipe's length is the same in both."""
    folder, _ = by_two
    train_in(tmp_path, 2, "4", "--stop-after", "2")
    train_in(tmp_path, 2, "4", "--resume")
    whole, halves = (read_rows(trained / "run" / "curves.csv") for trained in (folder, tmp_path))
    assert [(row.step, row.loss, row.lr, row.ap50) for row in whole] == [
        (row.step, row.loss, row.lr, row.ap50) for row in halves
    ]
    for name, value in weights(folder).items():
        assert torch.equal(weights(tmp_path)[name], value), name


def test_shares_of_a_batch_make_the_batch():
    alone = list(Shuffled(27, seed=3, epoch=1))
    shares = [list(Shuffled(27, seed=3, epoch=1, share=Share(rank, 2))) for rank in range(2)]
    assert [len(share) for share in shares] == [13, 13]
    for step in range(3):
        together = {key for share in shares for key in share[4 * step : 4 * step + 4]}
        assert together == set(alone[8 * step : 8 * step + 8])


def test_every_validation_image_is_in_one_share():
    assert sorted(Share(0, 3).take(range(7)) + Share(1, 3).take(range(7)) + Share(2, 3).take(range(7))) == [*range(7)]
    assert ALONE.take(range(3)) == [0, 1, 2]


@pytest.mark.parametrize(("size", "of"), [(16, 3), (4, 4), (2, 2), (0, 2)])
def test_a_batch_that_cannot_be_divided(size, of):
    with pytest.raises(ModelError, match=f"a batch of {size} images cannot be divided among {of} processes"):
        Share(0, of).batch(size)


def test_matched_boxes_are_one_at_least():
    assert matched_boxes(torch.zeros(2, 5, dtype=torch.int64)).item() == 1
    assert matched_boxes(torch.tensor([[0, 2, -1, 1]])).item() == 2


def test_which_process_speaks(monkeypatch):
    for name in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert speaks()
    assert launched_with() == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert launched_with() == 4
    assert not speaks()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "many")
    with pytest.raises(ModelError, match="must be a number"):
        launched_with()
