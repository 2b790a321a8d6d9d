"""INT8 by other tools, each in a separate process: ``python int8_peers.py TOOL HEADS IMAGES.npy OUTPUT``.

The process runs in an environment with the tools and without ssd-edge, which ``environment`` makes once. Each tool uses
its own defaults for an INT8 convolutional network, except where NVIDIA's compiler needs symmetric int8.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

TOOLS = {
    "ONNX Runtime, min-max": "onnxruntime 1.32, quantize_static, MinMax",
    "ONNX Runtime, entropy": "the same, Entropy",
    "ONNX Runtime, percentile": "the same, Percentile",
    "NNCF": "nncf 3.4, quantize",
    "Model Optimizer": "nvidia-modelopt 0.47, quantize",
}
PACKAGES = (
    "nncf==3.4.0",
    "openvino==2026.4.1",
    "onnx==1.23.2",
    "onnxruntime==1.32.0",
    "torch==2.13.0",
    # Packages that Model Optimizer imports to quantise ONNX; all the packages that it requires would include CUDA.
    *("onnxscript", "omegaconf", "pulp", "tqdm", "pydantic", "regex", "scipy", "pyyaml", "onnxconverter-common"),
)
BARE = ("nvidia-modelopt==0.47.0", "onnx-graphsurgeon", "polygraphy", "nvidia-ml-py", "onnxslim", "lief")
CHUNK = 8
"""Number of images whose activations ONNX Runtime keeps at once; for SSD300 each takes 100 MB."""


def environment(folder: Path) -> Path:
    """Return the Python of an environment with the tools; if it does not exist, making it takes two minutes.

    Raises:
        FileNotFoundError: the environment cannot be made.
    """
    python = folder / "bin" / "python"
    if not (folder / "whole").exists():
        install = [str(python), "-m", "pip", "install", "--quiet"]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [*install, *PACKAGES],
            [*install, "--no-deps", *BARE],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise FileNotFoundError(f"the tools to compare with cannot be installed: {done.stderr.strip()[-300:]}")
        (folder / "whole").touch()
    return python


def _onnxruntime(method: str, heads: Path, images: Any, output: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Reader of all images, or of a range of them."""

        def __init__(self) -> None:
            self.set_range(0, len(images))

        def __len__(self) -> int:
            return len(images)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._left = iter(images[start_index:end_index])

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._left, None)
            return None if image is None else {"image": np.array(image)}

    folded = output.with_suffix(".folded.onnx")
    quant_pre_process(str(heads), str(folded), skip_symbolic_shape=True)
    quantize_static(
        str(folded),
        str(output),
        Reader(),
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        calibrate_method=getattr(CalibrationMethod, method),
        op_types_to_quantize=["Conv"],
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "DedicatedQDQPair": True,
            "OpTypesToExcludeOutputQuantization": ["Conv"],
            "CalibStridedMinMax": CHUNK,
        },
    )


def _nncf(heads: Path, images: Any, output: Path) -> None:
    import nncf
    import openvino

    model = openvino.Core().read_model(str(heads))
    data = nncf.Dataset([np.array(image) for image in images])
    openvino.save_model(nncf.quantize(model, data, subset_size=len(images)), str(output), compress_to_fp16=False)


def _model_optimizer(heads: Path, images: Any, output: Path) -> None:
    from modelopt.onnx.quantization import quantize

    quantize(
        str(heads),
        quantize_mode="int8",
        calibration_data={"image": np.concatenate(list(images))},
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=str(output),
    )


def main() -> None:
    """Run one tool; arguments: tool, heads, images (N, 1, 3, H, W) float32, and the file to write."""
    # Switch off usage reports to the makers of OpenVINO, NNCF and ONNX Runtime. ssd_edge/__init__.py does it too, but
    # ssd-edge is not in this environment.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    tool, heads, images, output = sys.argv[1], Path(sys.argv[2]), np.load(sys.argv[3], mmap_mode="r"), Path(sys.argv[4])
    if tool == "NNCF":
        _nncf(heads, images, output)
    elif tool == "Model Optimizer":
        _model_optimizer(heads, images, output)
    else:
        method = {"min-max": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}[tool.split(", ")[1]]
        _onnxruntime(method, heads, images, output)


if __name__ == "__main__":
    main()
