"""CUDA on a CPU behaves like CUDA, and reports faults that a GPU would not.

The reference is the CUDA C++ Programming Guide, in NumPy; everything is compared exactly.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from ssd_edge.boxes import default_boxes
from ssd_edge.engines.kernels.launch import Launch, between_buffers, decode_launches, result_buffers
from tests.cuda import build
from tests.cuda.build import KernelLibrary, LaunchError
from tests.helpers import small_spec

SOURCE = build.HERE / "small_kernels.cu"
LINES = SOURCE.read_text().splitlines()


@pytest.fixture(scope="module")
def kernels() -> KernelLibrary:
    return build.kernel_library(SOURCE)


def row(threads: int) -> tuple[int, int, int]:
    return threads, 1, 1


# ---- guarantees of CUDA


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("grid", "block"),
    [((3, 2, 2), (4, 3, 2)), ((1, 1, 1), (1, 1, 1)), ((1, 5, 1), (16, 16, 4)), ((7, 1, 3), (33, 1, 1))],
)
def test_every_thread_runs_once_and_knows_who_it_is(kernels, grid, block, seed):
    total = int(np.prod(grid) * np.prod(block))
    thread, blocks = np.full((2, total, 3), -1, np.int32)
    sizes = np.full((total, 2, 3), -1, np.int32)
    kernels.launch("indices", grid, block, [thread, blocks, sizes], seed)
    # x runs fastest, of threads within blocks
    z, y, x, tz, ty, tx = np.unravel_index(np.arange(total), (*grid[::-1], *block[::-1]))
    np.testing.assert_array_equal(thread, np.stack([tx, ty, tz], axis=1))
    np.testing.assert_array_equal(blocks, np.stack([x, y, z], axis=1))
    assert (sizes == [block, grid]).all()


@pytest.mark.parametrize("threads", [1, 32, 40, 96])
@pytest.mark.parametrize("how_far", [0, 1, 5, 16, 31])
def test_shuffles(kernels, threads, how_far):
    value = np.random.default_rng(0).normal(size=threads)
    result = np.zeros((4, threads))
    kernels.launch("shuffles", row(1), row(threads), [value, how_far, result])
    for name, got, source in zip(
        ("xor", "down", "up", "from"),
        result,
        (
            lambda lane: lane ^ how_far,
            lambda lane: lane + how_far if lane + how_far < 32 else lane,
            lambda lane: lane - how_far if lane >= how_far else lane,
            lambda lane: how_far,
        ),
        strict=True,
    ):
        for t in range(threads):
            from_thread = t - t % 32 + source(t % 32)
            if from_thread < threads:  # beyond, there is no such lane, and no such value
                assert got[t] == value[from_thread], (name, t)


@pytest.mark.parametrize("threads", [32, 64, 50])
def test_ballots_of_warps_and_of_half_warps(kernels, threads):
    predicate = np.random.default_rng(1).integers(0, 2, threads, np.int32) * 7
    result = np.zeros((2, threads), np.uint32)
    kernels.launch("ballots", row(1), row(threads), [predicate, result])
    for t in range(threads):
        bits = sum(1 << lane for lane in range(32) if t - t % 32 + lane < threads and predicate[t - t % 32 + lane])
        assert result[0, t] == bits
        assert result[1, t] == bits & (0xFFFF0000 if t % 32 >= 16 else 0xFFFF)


def test_a_lane_that_takes_no_part_gives_rubbish(kernels):
    result = np.zeros(16, np.uint32)
    kernels.launch("shuffle_from_nobody", row(1), row(32), [result])
    assert (result == 0xDEADBEEF).all()


def test_lanes_that_have_left_need_not_come(kernels):
    result = np.zeros(32, np.uint32)
    kernels.launch("lanes_leave", row(1), row(32), [result])
    np.testing.assert_array_equal(result[::2], 0x55555555)


@pytest.mark.parametrize("seed", [0, 1, 9])
@pytest.mark.parametrize("threads", [1, 31, 256, 1024])
def test_shared_memory_and_barriers(kernels, threads, seed):
    values = np.arange(3 * threads, dtype=np.int32)
    for rounds in (1, 2, 7):
        result = np.zeros_like(values)
        kernels.launch("reverse", row(3), row(threads), [values, rounds, result], seed)
        wanted = values.reshape(3, threads)
        np.testing.assert_array_equal(result.reshape(3, threads), wanted[:, ::-1] if rounds % 2 else wanted)


def test_atomics(kernels):
    bins = np.random.default_rng(2).integers(0, 10, 50 * 64, np.int32)
    counts, number, largest = np.zeros(10, np.int32), np.zeros(1, np.uint32), np.zeros(1, np.int32)
    kernels.launch("count", row(50), row(64), [bins, counts, number, largest], 3)
    np.testing.assert_array_equal(counts, np.bincount(bins, minlength=10))
    assert number[0] == len(bins)
    assert largest[0] == bins.max()


def test_registers_outlive_barriers(kernels):
    x = np.asarray([1.5, 2.5, -3.25, 0.5], np.float32)
    sums = np.zeros(70, np.float32)
    kernels.launch("registers", row(2), row(70), [x, sums])
    p = np.arange(70, dtype=np.int64)
    wanted = 50 * (x[0] * x[1] - x[2] * x[3]) + p + 50 * (p * p - 3 * p * p + 3 * p * p - p)
    np.testing.assert_array_equal(sums, wanted.astype(np.float32))


def test_no_fused_multiply_add(kernels):
    """a·b rounds before c is added: (1 + ε)² − (1 + 2ε) is then 0, and ε² in one rounding."""
    a, b, c = (np.full(32, v, np.float32) for v in (1 + 2**-12, 1 + 2**-12, -1 - 2**-11))
    result = np.full(32, np.nan, np.float32)
    kernels.launch("multiply_add", row(1), row(32), [a, b, c, result])
    assert (result == 0).all()
    # Random numbers, against NumPy, which rounds each operation.
    a, b, c = np.random.default_rng(4).normal(size=(3, 1024)).astype(np.float32)
    result = np.zeros(1024, np.float32)
    kernels.launch("multiply_add", row(1), row(1024), [a, b, c, result])
    np.testing.assert_array_equal(result, a * b + c)


def test_minimum_maximum_and_bits(kernels):
    a = np.asarray([1, np.nan, 3, np.nan, -0.0, np.inf, -np.inf, 2], np.float32)
    b = np.asarray([2, 5, np.nan, np.nan, 1, 1, 1, 2], np.float32)
    result, integers = np.zeros((3, 8), np.float32), np.zeros((4, 8), np.int32)
    kernels.launch("extremes", row(1), row(8), [a, b, result, integers])
    np.testing.assert_array_equal(result[0], np.fmin(a, b))  # a number wins over NaN
    np.testing.assert_array_equal(result[1], np.fmax(a, b))
    np.testing.assert_array_equal(result[2].view(np.int32), a.view(np.int32))
    np.testing.assert_array_equal(integers[0], [0, 1, 2, 3, 4, 5, 5, 5])
    np.testing.assert_array_equal(integers[1], [32, 31, 30, 30, 29, 29, 29, 29])
    np.testing.assert_array_equal(integers[2], [0, 1, 2, 1, 3, 1, 2, 1])
    np.testing.assert_array_equal(integers[3], [0, 1, 1, 2, 1, 2, 2, 3])


# ---- behaviour that no kernel may rely on


def turns(kernels, seed):
    blocks, threads, counters = np.full(9, -1, np.int32), np.full(9 * 40, -1, np.int32), np.zeros(2, np.int32)
    kernels.launch("order", row(9), row(40), [blocks, threads, counters], seed)
    return blocks, threads.reshape(9, 40)


def test_a_seed_shuffles_blocks_and_threads():
    kernels = build.kernel_library(SOURCE)
    blocks, threads = turns(kernels, 0)
    np.testing.assert_array_equal(blocks, np.arange(9))
    assert (threads == np.arange(40)).all()
    orders = {0: blocks.tolist()}
    for seed in (1, 2, 3):
        orders[seed], threads = turns(kernels, seed)[0].tolist(), turns(kernels, seed)[1]
        assert sorted(orders[seed]) == list(range(9))
        assert (np.sort(threads) == np.arange(40)).all()
        assert len({tuple(turn) for turn in threads.tolist()}) == 9  # another order in each block
        assert turns(kernels, seed)[0].tolist() == orders[seed]  # and the same again for the same seed
    assert len({tuple(order) for order in orders.values()}) == 4


def test_shared_memory_is_rubbish_at_first():
    """The initial content differs for each block and each seed, and is never what the previous block left."""
    kernels = build.kernel_library(SOURCE)
    seen = np.zeros((3, 5, 64), np.uint32)
    for seed in range(3):
        kernels.launch("unwritten_shared_memory", row(5), row(64), [seen[seed]], seed)
    assert not np.isin(seen, [0, 7]).any()
    assert len(np.unique(seen)) > 0.99 * seen.size


# ---- faults that a GPU would not report, or that would hang it


def line_of(text: str, after: str) -> int:
    """Find the number of the first line with a text, after the line with another."""
    start = next(i for i, line in enumerate(LINES) if after in line)
    return next(i for i, line in enumerate(LINES[start:], start) if text in line) + 1


def test_a_barrier_that_part_of_the_block_does_not_reach(kernels):
    line = line_of("__syncthreads", after="part_at_barrier")
    wanted = (
        "part_at_barrier: block (0, 0, 0): thread (0, 0, 0) waits at __syncthreads() in line "
        f"{line}, but thread (100, 0, 0) has left the kernel"
    )
    with pytest.raises(LaunchError, match=f"^{re.escape(wanted)}$"):
        kernels.launch("part_at_barrier", row(2), row(128), [np.zeros(128, np.int32)])


def test_two_barriers_at_once(kernels):
    line = line_of("__syncthreads", after="two_barriers")
    wanted = (
        f"thread (0, 0, 0) waits at __syncthreads() in line {line}, "
        f"but thread (64, 0, 0) waits at __syncthreads() in line {line + 2}"
    )
    with pytest.raises(LaunchError, match=re.escape(wanted)):
        kernels.launch("two_barriers", row(1), row(128), [np.zeros(128, np.int32)])


def test_a_lane_that_waits_elsewhere(kernels):
    wanted = r"waits at __shfl_xor_sync\(\) in line \d+, but thread \(5, 0, 0\) waits at __syncthreads\(\) in line \d+$"
    with pytest.raises(LaunchError, match=wanted):
        kernels.launch("lane_at_barrier", row(1), row(32), [np.zeros(32, np.int32)])


def test_lanes_that_disagree_about_who_takes_part(kernels):
    wanted = r"thread \(0, 0, 0\) waits at __ballot_sync\(\) .* and thread \(16, 0, 0\) .* with another mask$"
    with pytest.raises(LaunchError, match=wanted):
        kernels.launch("two_masks", row(1), row(32), [np.zeros(32, np.int32)])


def test_a_mask_without_the_lane_itself(kernels):
    wanted = r"thread \(0, 0, 0\) waits at __ballot_sync\(\) in line \d+ with a mask that does not hold it$"
    with pytest.raises(LaunchError, match=wanted):
        kernels.launch("not_in_mask", row(1), row(32), [np.zeros(32, np.int32)])


@pytest.mark.parametrize(
    ("grid", "block"),
    [((0, 1, 1), (32, 1, 1)), ((1, 1, 1), (0, 1, 1)), ((1, 1, 1), (1025, 1, 1)), ((1, 1, 1), (64, 64, 1))],
)
def test_invalid_launches(kernels, grid, block):
    with pytest.raises(LaunchError, match=re.escape(f"a grid of {grid} blocks of {block} threads cannot be launched")):
        kernels.launch("part_at_barrier", grid, block, [np.zeros(1, np.int32)])


def test_a_launch_after_a_failed_one(kernels):
    for _ in range(3):
        with pytest.raises(LaunchError):
            kernels.launch("part_at_barrier", row(2), row(128), [np.zeros(128, np.int32)])
        test_shared_memory_and_barriers(kernels, 256, 1)


# ---- the other processor


def test_aarch64_gives_the_same_bits(tmp_path: Path):
    """The real kernels, run by qemu: tests the fibers' code for aarch64, and arithmetic that is the same everywhere."""
    compiler = shutil.which("aarch64-linux-gnu-g++")
    qemu = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if compiler is None or qemu is None:
        pytest.skip("g++-aarch64-linux-gnu and qemu-user or qemu-user-static are not installed")
    spec = small_spec(labels=tuple(map(str, range(40))))
    rng = np.random.default_rng(5)
    buffers = {
        "defaults": default_boxes(spec),
        "loc": rng.normal(0, 1, (2, spec.num_default_boxes, 4)).astype(np.float16),
        "logits": rng.normal(0, 3, (2, spec.num_default_boxes, spec.num_classes)).astype(np.float16),
    }
    for name, buffer in {**between_buffers(spec, 2), **result_buffers(spec, 2)}.items():
        buffers[name] = np.zeros(buffer.shape, buffer.dtype)
    launches: tuple[Launch, ...] = decode_launches(spec, 2, True)

    there = {name: array.copy() for name, array in buffers.items()}
    program = build.program(None, compiler=compiler)
    ran = build.drive((qemu, "-L", "/usr/aarch64-linux-gnu", program), tmp_path, there, launches, seed=1)
    assert (ran.returncode, ran.stderr) == (0, "")

    kernels = build.kernel_library()
    for launch in launches:
        arguments = [buffers[a] if isinstance(a, str) else a for a in launch.arguments]
        kernels.launch(launch.kernel, launch.grid, launch.block, arguments)
    assert (buffers["num_detections"] > 20).all()
    for name, array in buffers.items():
        assert there[name].tobytes() == array.tobytes(), name
