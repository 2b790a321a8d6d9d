"""Resources and instructions of the CUDA kernels, and the least time that their memory traffic needs.

Resources are the compiler's report, instructions those that NVIDIA's disassembler shows, as often as they stand in the
code: preprocess has a path for each of six pixel formats, of which a frame takes one.

Nothing here was run on a GPU. The times are arithmetic: the bytes that a kernel must move (each input read once, each
output written once), divided by the bandwidth that NVIDIA states. No launch is as quick as that.

python benchmarks/kernel_table.py     prints the tables of docs/gpu.md, in Markdown
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from figure import Figure
from sass import Instructions, instructions

from ssd_edge.engines.kernels.compiler import ARCHITECTURES, KernelReport, compile_kernels
from ssd_edge.engines.kernels.launch import (
    Buffer,
    Launch,
    between_buffers,
    decode_launches,
    heads_buffers,
    preprocess_launch,
    preprocess_taps,
    result_buffers,
)
from ssd_edge.models.registry import make_spec
from ssd_edge.pixels import FORMATS, packed
from ssd_edge.spec import ModelSpec

JETPACK_6 = Path(sys.prefix) / "cuda-12.6"  # where make install puts it
GOAL = 48  # KiB of shared memory that a block gets by default on every GPU

BANDWIDTH = {
    "AGX Orin": 204.8,  # NVIDIA Jetson AGX Orin Series, technical brief: LPDDR5, 256 bits × 6.4 Gb/s
    "RTX 4090": 1008.0,  # NVIDIA Ada GPU Architecture, whitepaper, appendix A: GDDR6X, 384 bits × 21 Gb/s
}
"""Memory bandwidth by device, in 10⁹ bytes a second."""

BEFORE = {
    "ssd_preprocess_fp32": Instructions(657, 87, 1, 24),
    "ssd_preprocess_area_fp32": Instructions(1238, 0, 0, 21),
    "ssd_decode_fp32": Instructions(1555, 0, 3, 49),
    "ssd_select": Instructions(1501, 0, 12, 29),
    "ssd_merge": Instructions(1497, 0, 12, 58),
}
"""Of the kernels at sm_87 before: of BGR alone, with a barrier for each kept box and one block that merges."""

FRAME = (720, 1280)
CASES = {"SSD300, 20 classes": (20, "voc"), "SSD300, 90 classes": (90, "coco")}
"""Number of labels and table of box sizes; both have 8732 default boxes."""


def measure() -> Figure:
    """Return the most shared memory that a kernel takes at sm_87.

    The goal also asks that no kernel spills there, and that preprocess has no FP64.

    Raises:
        FileNotFoundError: there is no disassembler.
    """
    compiled, counted = reports(), sass()
    orin = [report for target, group in compiled.items() if target.startswith("sm_87") for report in group]
    value = max(report.shared for report in orin) / 1024
    spills = sum(report.spills + report.stack for report in orin)
    traffic = {case: {kernel: _with_times(size) for kernel, size in bytes_moved(case).items()} for case in CASES}
    double = max(
        one.double for group in counted.values() for kernel, one in group.items() if kernel.startswith("ssd_preprocess")
    )
    detail = {
        "instructions": {
            target: {name: asdict(one) for name, one in group.items()} for target, group in counted.items()
        },
        "instructions before, sm_87": {name: asdict(one) for name, one in BEFORE.items()},
        "reports": {target: [asdict(report) for report in group] for target, group in compiled.items()},
        "bytes moved and least microseconds, by arithmetic": traffic,
    }
    decode = traffic["SSD300, 90 classes"]["ssd_decode_fp16"]
    beside = (
        f"{max(report.registers for report in orin)} registers at most; FP64 instructions of preprocess: {double}, "
        f"before {BEFORE['ssd_preprocess_fp32'].double}; by arithmetic, FP16 decode of 90 classes moves "
        f"{decode['bytes'] / 1e6:.1f} MB: at least "
        + " and ".join(f"{decode[device]:.0f} µs on an {device}" for device in BANDWIDTH)
    )
    met = value < GOAL and spills == 0 and double == 0
    unit = "KiB of shared memory at most at sm_87"
    return Figure("kernel-table", value, unit, "< 48, no spills, no FP64 in preprocess", met, detail, beside)


def reports() -> Mapping[str, Sequence[KernelReport]]:
    """Compile for every architecture with CUDA 13, and for Orin with CUDA 12.6 if installed; return all reports."""
    by_target = {architecture: compile_kernels(architecture).reports for architecture in ARCHITECTURES}
    if JETPACK_6.is_dir():
        by_target["sm_87, CUDA 12.6"] = compile_kernels("sm_87", JETPACK_6).reports
    return by_target


def sass() -> Mapping[str, Mapping[str, Instructions]]:
    """Count the instructions of each kernel for every architecture, with CUDA 13.

    Raises:
        FileNotFoundError: there is no disassembler.
    """
    counted = {}
    for architecture in ARCHITECTURES:
        images = compile_kernels(architecture).images
        counted[architecture] = instructions(next(data for image, data in images.items() if image.kind == "cubin"))
    return counted


def bytes_moved(case: str, pixel_format: str = "BGR") -> dict[str, int]:
    """Return the bytes that each kernel must read and write for one image."""
    labels, box_sizes = CASES[case]
    spec = make_spec("ssd300_vgg16", [str(label) for label in range(labels)], box_sizes)
    moved, layout = {}, packed(pixel_format, FRAME)
    for half in (False, True):
        buffers = {
            "frame": Buffer((layout.nbytes,), np.dtype(np.uint8)),
            "taps": Buffer(preprocess_taps(spec, FRAME).shape, np.dtype(np.int32)),
            "defaults": Buffer((spec.num_default_boxes, 4), np.dtype(np.float32)),
            **heads_buffers(spec, 1, half),
            **between_buffers(spec, 1),
            **result_buffers(spec, 1),
        }
        for launch in (preprocess_launch(spec, layout, half), *decode_launches(spec, 1, half)):
            moved[launch.kernel] = _bytes(launch, buffers, spec)
    return moved


def _bytes(launch: Launch, buffers: Mapping[str, Buffer], spec: ModelSpec) -> int:
    # Only some boxes are read: ssd_select reads those that enter NMS, ssd_merge those that are detected.
    asked_for = {
        ("ssd_select", "all_boxes"): len(spec.labels) * spec.top_k * 16,
        ("ssd_merge", "kept_boxes"): spec.max_detections * 16,
    }
    read = sum(min(buffers[name].nbytes, asked_for.get((launch.kernel, name), sys.maxsize)) for name in launch.inputs)
    return read + sum(buffers[name].nbytes for name in launch.outputs)


def _with_times(size: int) -> dict[str, float]:
    return {"bytes": size, **{device: size / (bandwidth * 1e3) for device, bandwidth in BANDWIDTH.items()}}


def table() -> str:
    """Return the three tables in Markdown."""
    counted = sass()
    lines = [
        "| target | kernel | registers | shared memory, bytes | spills, bytes | instructions | FP64 | barriers |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for target, group in reports().items():
        for report in group:
            one = counted.get(target, {}).get(report.name)
            code = f"{one.all} | {one.double} | {one.barriers}" if one else "| | "
            lines.append(
                f"| {target} | {report.name} | {report.registers} | {report.shared} | {report.spills} | {code} |"
            )
    lines += ["", "| kernel, sm_87 | instructions | FP64 | barriers | loads |", "|---|---|---|---|---|"]
    for name, before in BEFORE.items():
        pairs = zip(asdict(before).values(), asdict(counted["sm_87"][name]).values(), strict=True)
        lines.append(f"| {name} | " + " | ".join(f"{old} → {new}" for old, new in pairs) + " |")
    times = " | ".join(f"{device}, least µs" for device in BANDWIDTH)
    lines += ["", f"| model | kernel | MB moved | {times} |", "|---|---|---|" + "---|" * len(BANDWIDTH)]
    for case in CASES:
        for kernel, size in bytes_moved(case).items():
            least = _with_times(size)
            columns = " | ".join(f"{least[device]:.1f}" for device in BANDWIDTH)
            lines.append(f"| {case} | {kernel} | {size / 1e6:.2f} | {columns} |")
    for pixel_format in FORMATS:
        size = bytes_moved("SSD300, 20 classes", pixel_format)["ssd_preprocess_fp16"]
        columns = " | ".join(f"{_with_times(size)[device]:.1f}" for device in BANDWIDTH)
        lines.append(f"| {pixel_format} frames | ssd_preprocess_fp16 | {size / 1e6:.2f} | {columns} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
