"""``ssd-edge export-decode``: write heads.onnx with decode appended as nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssd_edge.cli.common import needs, print_json, say


def export_decode(
    onnx: Annotated[
        Path, typer.Argument(help="ONNX heads from ssd-edge export, calibrate or import-onnx.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; by default NAME.decode.onnx.")
    ] = None,
    half: Annotated[
        bool,
        typer.Option("--half", help="Convert FP32 heads to FP16; INT8 stays INT8. TensorRT takes types from the file."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Export ONNX that outputs detections: the heads, followed by decode as three plugin nodes.

    For tools that build TensorRT engines themselves, such as trtexec, DeepStream and Triton; ssd-edge build-engine
    does not need this file. The nodes SsdDecode, SsdSelect and SsdMerge are run by the plugins of ssd-edge. The input
    is FP32. Outputs: num_detections (B, 1), boxes (B, K, 4) as fractions of the image, scores (B, K), classes (B, K)
    counted from 0, num_cut (B, 1).

    Next: trtexec --onnx=NAME.decode.onnx --staticPlugins=libssd_edge_plugin.so
    """
    with needs("calibrate", "export-decode"):
        from ssd_edge.engines.plugins.decode_file import write_with_decode
    target = output or onnx.with_suffix(".decode.onnx")
    spec, outputs = write_with_decode(onnx, target, half)
    if as_json:
        print_json({"onnx": str(target), "outputs": outputs})
        return
    say(f"{target}: {spec.num_default_boxes} default boxes, at most {spec.max_detections} detections of an image")
    say(f"next: trtexec --onnx={target} --staticPlugins=libssd_edge_plugin.so")
