"""Write an entry of a Triton model repository: ``NAME/config.pbtxt``, ``NAME/1/model.plan``, labels, and a page.

Fields of ``config.pbtxt``: ``ModelConfig`` in triton-inference-server/common, protobuf/model_config.proto, and
docs/user_guide/model_configuration.md of triton-inference-server/server.
"""

from __future__ import annotations

from pathlib import Path

from ssd_edge.engines.deploy.plan import Deployable, write
from ssd_edge.engines.gpu.network import carrying_decode
from ssd_edge.engines.kernels.launch import Buffer
from ssd_edge.engines.plugins.library_plugin import NAME as LIBRARY
from ssd_edge.spec import ModelSpec

_TYPES = {"float32": "TYPE_FP32", "int32": "TYPE_INT32"}


def export(model: Deployable, repository: Path) -> Path:
    """Write the entry.

    Args:
        model: the plan.
        repository: Triton's model repository; other models in it stay.

    Returns:
        The entry's folder.

    Raises:
        BackendError: the repository already has a model of that name.
    """
    folder = repository / model.name
    texts = {"config.pbtxt": config(model), "labels.txt": model.labels, "README.md": page(model)}
    write(folder, texts, {"1/model.plan": model.file})
    return folder


def config(model: Deployable) -> str:
    """Format ``config.pbtxt``; for a fixed batch max_batch_size is 0, and Triton takes the shapes as they are."""
    image, *outputs = carrying_decode(model.spec, half=False, batch=model.max_batch).items()
    is_free = model.max_batch > 1
    lines = [
        f'name: "{model.name}"',
        'platform: "tensorrt_plan"',
        f"max_batch_size: {model.max_batch if is_free else 0}",
        "input [",
        _tensor(*image, is_free),
        "]",
        "output [",
        ",\n".join(_tensor(name, buffer, is_free) for name, buffer in outputs),
        "]",
        *(["dynamic_batching { }"] if is_free else []),
    ]
    core = model.plan.facts.get("dla_core")
    if core is not None:
        lines.append(
            f"instance_group [ {{ kind: KIND_GPU secondary_devices [ {{ kind: KIND_NVDLA device_id: {core} }} ] }} ]"
        )
    return "\n".join(lines) + "\n"


def _tensor(name: str, buffer: Buffer, is_free: bool) -> str:
    dims = ", ".join(map(str, buffer.shape[1:] if is_free else buffer.shape))
    return f'  {{ name: "{name}" data_type: {_TYPES[buffer.dtype.name]} dims: [ {dims} ] }}'


def page(model: Deployable) -> str:
    """Format the page on what a client must do and how to try it."""
    spec, name = model.spec, model.name
    rows, columns = spec.input_size
    shown = ", ".join(f"{label} {score:.6g}" for label, score in spec.operating_scores.items())
    shown = f"\nShow a detection from its class's operating score on: {shown}.\n" if shown else ""
    kind = "bilinear resize" if spec.resize == "linear" else "averaging resize (ssd_edge/resize.py)"
    return f"""\
# {name} in Triton

Made by `ssd-edge export-deploy`. The plan is {model.built_for}: it needs a Triton with
that TensorRT, on that GPU. No device has run this yet.

    tritonserver --model-repository=/models {" ".join(_server_options(model))}
{_LIBRARY_NOTE if model.needs_library else ""}
    curl -s localhost:8000/v2/models/{name}/config
    perf_analyzer -m {name} {"-b 1 " if model.max_batch > 1 else ""}--concurrency-range 1:4

`image` is what the function below makes of a frame, BGR as OpenCV reads it: {kind} to {columns}×{rows} that
does not keep the aspect, channels in the order {spec.channel_order}, (pixel − mean) / std, float32. This is all that a
client has to do before.

```python
{_preprocess_code(spec)}```

| output | is |
|---|---|
| `num_detections` | how many of the {spec.max_detections} places are filled, best score first |
| `boxes` | x1, y1, x2, y2 as fractions of the image: times the frame's width and height |
| `scores` | above {spec.score_threshold} |
| `classes` | lines of `labels.txt`, counted from 0; −1 beyond the detections |
| `num_cut` | candidates that top-k left out |
{shown}"""


_LIBRARY_NOTE = f"""
The decode nodes come from `{LIBRARY}`, built where Triton runs (docs/engines.md of ssd-edge says how); \
the line above expects it in the repository's folder.
"""


def _server_options(model: Deployable) -> list[str]:
    options = []
    if model.needs_library:
        options.append(f"--backend-config=tensorrt,plugins=/models/{LIBRARY}")
    if model.plan.facts.get("version_compatible") == "yes":
        options.append("--backend-config=tensorrt,version-compatible=true")
    return options


def _preprocess_code(spec: ModelSpec) -> str:
    """Format a client's preprocess as Python code; it is ``ssd_edge.preprocess`` with this spec's numbers."""
    rows, columns = spec.input_size
    imported, resize = "", f"cv2.resize(frame, ({columns}, {rows}), interpolation=cv2.INTER_LINEAR_EXACT)"
    if spec.resize != "linear":
        imported, resize = "\nfrom ssd_edge.resize import area\n", f"area(frame, ({rows}, {columns}))"
    return f"""\
import cv2
import numpy as np
{imported}

def preprocess(frame):
    resized = {resize}
    pixels = resized{"[:, :, ::-1]" if spec.channel_order == "rgb" else ""}.astype(np.float32)
    pixels -= np.float32({list(spec.mean)})
    pixels /= np.float32({list(spec.std)})
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)
"""
