"""AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer report nothing in the kernels, and planted faults.

``make sanitize`` runs these. A fault is planted in a copy of kernels.cu by replacing a piece of its text, so the
shipped source does not contain it; if the piece is no longer there, the test fails.

TSan reports two threads of a block that touch the same memory, at least one of them writing, with no __syncthreads() or
__syncwarp() between (a shuffle does not order memory), and two blocks, run one after the other, that do so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ssd_edge.boxes import default_boxes
from ssd_edge.engines.kernels.launch import (
    SOURCE,
    Launch,
    between_buffers,
    decode_launches,
    headers_of,
    preprocess_launch,
    preprocess_taps,
    result_buffers,
    words,
)
from ssd_edge.models.registry import make_spec
from ssd_edge.pixels import FORMATS, packed
from ssd_edge.spec import ModelSpec, Resize
from tests.cuda import build
from tests.helpers import small_spec

pytestmark = pytest.mark.sanitize

SMALL_KERNELS = build.HERE / "small_kernels.cu"

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Work:
    """Launches, and the buffers that they use."""

    launches: Sequence[Launch]
    buffers: Arrays


def decoding(spec: ModelSpec, batch: int = 1, half: bool = False, change: Callable[..., None] | None = None) -> Work:
    """Make the work of decode, select and merge on random heads; ``change`` may alter loc and logits."""
    rng = np.random.default_rng(0)
    dtype = np.float16 if half else np.float32
    loc = rng.normal(0, 1, (batch, spec.num_default_boxes, 4)).astype(dtype)
    logits = rng.normal(0, 2, (batch, spec.num_default_boxes, spec.num_classes)).astype(dtype)
    if change is not None:
        change(loc, logits)
    buffers: Arrays = {"defaults": default_boxes(spec), "loc": loc, "logits": logits}
    for name, buffer in {**between_buffers(spec, batch), **result_buffers(spec, batch)}.items():
        buffers[name] = np.zeros(buffer.shape, buffer.dtype)
    return Work(decode_launches(spec, batch, half), buffers)


def preprocessing(
    input_size: tuple[int, int],
    frame_size: tuple[int, int],
    half: bool = False,
    how: Resize = "linear",
    pixel_format: str = "BGR",
) -> Work:
    spec = replace(small_spec(), input_size=input_size, resize=how)
    layout = packed(pixel_format, frame_size)
    frame = np.random.default_rng(1).integers(0, 256, words(layout.nbytes), np.uint8)
    image = np.zeros((1, 3, *input_size), np.float16 if half else np.float32)
    buffers = {"frame": frame, "taps": preprocess_taps(spec, frame_size), "image": image}
    return Work([preprocess_launch(spec, layout, half)], buffers)


def labels(number: int) -> tuple[str, ...]:
    return tuple(map(str, range(number)))


def crowded(**changes: Any) -> Work:
    """Make a class with more candidates than a block can hold at once, so that the best are found byte by byte."""
    spec = small_spec(labels=labels(2), score_threshold=0.001, **changes)
    level = replace(spec.levels[0], grid=(20, 20))
    return decoding(replace(spec, levels=(level,)))


def all_equal(loc: npt.NDArray[Any], logits: npt.NDArray[Any]) -> None:
    loc[...] = 0
    logits[...] = 0


def not_numbers(loc: npt.NDArray[Any], logits: npt.NDArray[Any]) -> None:
    loc[:, ::7] = np.nan
    loc[:, 1::7] = np.inf
    loc[:, 2::7] = 6e4
    logits[:, ::5] = np.nan
    logits[:, 1::5, 1] = np.inf
    logits[:, 2::5, 1] = -np.inf


WORK: Mapping[str, Callable[[], Work]] = {
    "small": lambda: decoding(small_spec()),
    "one class": lambda: decoding(small_spec(labels=("only",)), batch=2),
    "90 classes, FP16, batch 3": lambda: decoding(small_spec(labels=labels(90)), batch=3, half=True),
    "sigmoid": lambda: decoding(small_spec(labels=labels(33), score_function="sigmoid", box_order="yxhw")),
    "NaN and infinity": lambda: decoding(small_spec(), batch=2, change=not_numbers),
    "NaN and infinity, FP16, sigmoid": lambda: decoding(
        small_spec(score_function="sigmoid"), half=True, change=not_numbers
    ),
    "ties": lambda: decoding(small_spec(labels=labels(5)), change=all_equal),
    "no candidate": lambda: decoding(small_spec(score_threshold=0.99), change=all_equal),
    "crowded": crowded,
    "crowded, the largest top-k": lambda: crowded(top_k=1024, max_detections=1024),
    "crowded, top-k of 1": lambda: crowded(top_k=1, max_detections=1),
    "SSD300, 20 classes": lambda: decoding(make_spec("ssd300_vgg16", labels(20))),
    "frame of one pixel": lambda: preprocessing((5, 7), (1, 1)),
    "smaller frame": lambda: preprocessing((20, 300), (17, 31), half=True),
    "larger frame": lambda: preprocessing((8, 256), (61, 900)),
    "averaged frame": lambda: preprocessing((8, 256), (61, 900), how="area"),
    "averaged frame, FP16": lambda: preprocessing((1, 300), (2, 301), half=True, how="area"),
    **{
        f"{pixel_format}, {how}": lambda pixel_format=pixel_format, how=how: preprocessing(
            (9, 40), (19, 81), how=how, pixel_format=pixel_format
        )
        for pixel_format in FORMATS
        for how in ("linear", "area")
    },
}


def run(program: Path, folder: Path, work: Work, seed: int = 1) -> tuple[int, str]:
    ran = build.drive([program], folder, work.buffers, work.launches, seed)
    return ran.returncode, ran.stderr


@pytest.mark.parametrize("sanitizer", build.SANITIZERS)
@pytest.mark.parametrize("name", WORK)
def test_silent(name: str, sanitizer: str, tmp_path: Path) -> None:
    """The results equal those without a sanitizer to the last bit, which shows that the kernels ran."""
    work = WORK[name]()
    expected = {key: array.copy() for key, array in work.buffers.items()}
    assert run(build.program(sanitizer), tmp_path, work) == (0, "")
    kernels = build.kernel_library()
    for launch in work.launches:
        arguments = [expected[a] if isinstance(a, str) else a for a in launch.arguments]
        kernels.launch(launch.kernel, launch.grid, launch.block, arguments)
    for key, array in expected.items():
        assert work.buffers[key].tobytes() == array.tobytes(), key


# ---- planted faults


@dataclass(frozen=True)
class Fault:
    """A fault planted in the kernels by replacing text, and the message expected for it.

    Attributes:
        old: the text to replace; it occurs once.
        new: its replacement.
        work: name of the work that triggers the fault.
        sanitizer: sanitizer to build with; None for the scheduler's own messages.
        says: parts of the expected message.
    """

    old: str
    new: str
    work: str
    sanitizer: str | None
    says: tuple[str, ...]


FAULTS: Mapping[str, Fault] = {
    "missing barrier: counting begins before the histogram is empty": Fault(
        "best.histogram[t] = 0; // THREADS bins\n    __syncthreads();",
        "best.histogram[t] = 0;",
        "crowded",
        "thread",
        ("WARNING: ThreadSanitizer: data race", "least_wanted"),
    ),
    "missing barrier: masks are walked while they are written": Fault(
        "alive[warp % 2] = bits;\n    }\n    __syncthreads();",
        "alive[warp % 2] = bits;\n    }",
        "small",
        "thread",
        ("WARNING: ThreadSanitizer: data race", "suppress"),
    ),
    "one mask for two groups": Fault(
        "memory.overlaps[first / GROUP % 2];",
        "memory.overlaps[0];",
        "SSD300, 20 classes",
        "thread",
        ("WARNING: ThreadSanitizer: data race", "suppress"),
    ),
    "a warp sorts before another has": Fault(
        "if (apart > 32 || next > 32) __syncthreads();\n      else __syncwarp();",
        "if (next < 0) __syncthreads();\n      else __syncwarp();",
        "crowded, the largest top-k",
        "thread",
        ("WARNING: ThreadSanitizer: data race", "sort"),
    ),
    "a warp's lanes sort without waiting": Fault(
        "      else __syncwarp();\n",
        "",
        "crowded",
        "thread",
        ("WARNING: ThreadSanitizer: data race", "sort"),
    ),
    "missing barrier: a tile is written while it is read": Fault(
        "tile.scores[lane][j];\n    __syncthreads();",
        "tile.scores[lane][j];",
        "90 classes, FP16, batch 3",
        "thread",
        ("WARNING: ThreadSanitizer: data race", "decode"),
    ),
    "missing __syncwarp()": Fault(
        "still = best.wanted;\n      __syncwarp();",
        "still = best.wanted;",
        "crowded",
        "thread",
        ("WARNING: ThreadSanitizer: data race", "least_wanted"),
    ),
    "two blocks write one number": Fault(
        "cut[of_class] = candidates - number;",
        "cut[image] = candidates - number;",
        "small",
        "thread",
        ("WARNING: ThreadSanitizer: data race", "ssd_select"),
    ),
    "not atomic": Fault(
        "atomicAdd(&best.number, mine);",
        "best.number += mine;",
        "crowded",
        "thread",
        ("WARNING: ThreadSanitizer: data race", "ssd_merge"),
    ),
    "overrun of shared memory": Fault(
        "share[atomicAdd(&shared_out, 1)] = best.keys[i];",
        "{\n    u64 *volatile array = share;  // of a size that UBSan, which would speak first, does not know\n"
        "    array[CAPACITY + i] = 0;\n    }",
        "small",
        "address",
        ("ERROR: AddressSanitizer: global-buffer-overflow", "ssd_merge"),
    ),
    "overrun of an array in shared memory": Fault(
        "if (place < CAPACITY) best.keys[place] = key;",
        "best.keys[place] = key;",
        "crowded",
        "address",
        ("runtime error: index 1024 out of bounds",),
    ),
    "overrun of a result": Fault(
        "if (x >= columns || y >= rows) return;",
        "if (x >= columns) return;",
        "smaller frame",
        "address",
        ("ERROR: AddressSanitizer: heap-buffer-overflow", "WRITE of size 2"),
    ),
    "overrun of an averaged input": Fault(
        "row <= last_row; ++row",
        "row <= last_row + 1; ++row",
        "averaged frame",
        "address",
        ("ERROR: AddressSanitizer: heap-buffer-overflow", "READ of size 4"),
    ),
    "overrun of an input": Fault(
        "v.x + (v.y != 0)",
        "v.x + 1",
        "smaller frame",
        "address",
        ("ERROR: AddressSanitizer: heap-buffer-overflow", "READ of size 4"),
    ),
    "misaligned": Fault(
        "boxes[to + better] =",
        "*reinterpret_cast<float4 *>(reinterpret_cast<float *>(boxes + to + better) + 1) =",
        "small",
        "address",
        ("runtime error:", "misaligned address", "requires 16 byte alignment"),
    ),
    "part of a block at a barrier": Fault(
        "const int here = min(GROUP, number - first),",
        "if (t > first + 200) continue;\n    const int here = min(GROUP, number - first),",
        "small",
        None,
        ("ssd_select: block (", "waits at __syncthreads() in line"),
    ),
    "part of a warp in a shuffle": Fault(
        "sum = warp_sum(sum);",
        "if (lane < 20) sum = warp_sum(sum);",
        "small",
        None,
        ("ssd_decode_fp32: block (", "thread (0, 0, 0) waits at __shfl_xor_sync() in line", "but thread (20, 0, 0)"),
    ),
}


def planted(folder: Path, old: str, new: str) -> Path:
    """Copy the kernels with a text replaced, which occurs once in one of their files."""
    texts = {path.name: path.read_text() for path in (SOURCE, *headers_of())}
    assert sum(text.count(old) for text in texts.values()) == 1, "the kernels have changed: plant it in its new form"
    copies = folder / "kernels"
    copies.mkdir()
    for name, text in texts.items():
        (copies / name).write_text(text.replace(old, new))
    return copies / SOURCE.name


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    faulty = planted(tmp_path, fault.old, fault.new)
    code, message = run(build.program(fault.sanitizer, faulty), tmp_path, WORK[fault.work]())
    assert code != 0
    for piece in fault.says:
        assert piece in message


@pytest.mark.parametrize("kernel", ["shuffle_as_barrier", "blocks_share_a_number"])
def test_functions_that_do_not_order_memory(kernel: str, tmp_path: Path) -> None:
    launch = Launch(kernel, (2, 1, 1), (32, 1, 1), (), (), ("result",))
    work = Work([launch], {"result": np.zeros(64, np.int32)})
    # In plain order the even block writes, then has a barrier, then the odd block has one, and then writes.
    code, message = run(build.program("thread", SMALL_KERNELS), tmp_path, work, seed=0)
    assert code != 0
    assert "WARNING: ThreadSanitizer: data race" in message
    assert kernel in message


@pytest.mark.parametrize("sanitizer", build.SANITIZERS)
@pytest.mark.parametrize("kernel", ["reverse", "order"])
def test_barriers_and_atomics_order_memory(kernel: str, sanitizer: str, tmp_path: Path) -> None:
    """Correct kernels over several blocks and rounds give no report."""
    blocks, threads = 5, 96
    values = np.arange(blocks * threads, dtype=np.int32)
    grid, block = (blocks, 1, 1), (threads, 1, 1)
    launch, buffers = {
        "reverse": (
            Launch("reverse", grid, block, ("from",), (4,), ("to",)),
            {"from": values, "to": np.zeros_like(values)},
        ),
        "order": (
            Launch("order", grid, block, (), (), ("blocks", "threads", "turns")),
            {"blocks": values[:blocks].copy(), "threads": np.zeros_like(values), "turns": np.zeros(2, np.int32)},
        ),
    }[kernel]
    assert run(build.program(sanitizer, SMALL_KERNELS), tmp_path, Work([launch], buffers)) == (0, "")


def test_reading_what_was_never_written_shows(tmp_path: Path) -> None:
    """g++ has no sanitizer for reads of uninitialised memory, but shared memory starts with garbage here."""
    begins = "if (t == 0) best.number = 0;\n  __syncthreads();\n  each_key"
    faulty = planted(tmp_path, begins, begins.replace("if (t == 0) best.number = 0;", ""))
    results = []
    for program in (build.program(None), build.program(None, faulty)):
        work = decoding(small_spec())
        code, _ = run(program, tmp_path, work)
        results.append((code, work.buffers["scores"].tobytes()))
    assert results[0] != results[1]
