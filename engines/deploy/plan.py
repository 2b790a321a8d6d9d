"""Find the plan of a bundle that other programs can serve: a TensorRT plan with decode inside."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ssd_edge.engines.base import PlanEntry
from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.engines.plugins.decode_graph import INTERFACE
from ssd_edge.engines.plugins.forms import NEEDED_AT_RUN_TIME
from ssd_edge.errors import BackendError
from ssd_edge.files import replace_folder
from ssd_edge.hints import command
from ssd_edge.spec import ModelSpec


@dataclass(frozen=True)
class Deployable:
    """A plan that other programs can serve.

    Attributes:
        name: name of the model: the bundle's name, in letters, digits, ``_``, ``-`` and ``.``.
        file: path of the plan.
        plan: the plan's entry in the manifest.
        spec: the model's spec.
    """

    name: str
    file: Path
    plan: PlanEntry
    spec: ModelSpec

    @property
    def max_batch(self) -> int:
        """The largest batch; if it is 1, the plan takes no other."""
        return int(self.plan.facts.get("max_batch", "1"))

    @property
    def built_for(self) -> str:
        """The plan's TensorRT release and GPU, for people."""
        return f"of TensorRT {self.plan.version} for {self.plan.facts.get('gpu', 'the GPU that built it')}"

    @property
    def needs_library(self) -> bool:
        """Whether the C++ library must register the decode nodes with TensorRT."""
        return self.plan.facts["decode"] in NEEDED_AT_RUN_TIME

    @property
    def labels(self) -> str:
        """Labels, one per line, in the order of ``classes``."""
        return "".join(" ".join(label.split()) + "\n" for label in self.spec.labels)


def deployable(bundle: Path) -> Deployable:
    """Find the plan of a bundle that other programs can serve.

    Raises:
        BundleError: the folder is not a bundle, or was altered.
        BackendError: the bundle has no TensorRT plan, or only one that ends before decode or has an older interface.
    """
    manifest = read_manifest(bundle)
    plan = next((plan for plan in manifest.plans if plan.backend == "tensorrt"), None)
    onnx = manifest.provenance.get("onnx", "HEADS.onnx")
    build = f"on the device, {command('build-engine', onnx, '--backend', 'tensorrt', '--add', '--output', bundle)}"
    if plan is None:
        present = " and ".join(dict.fromkeys(plan.backend for plan in manifest.plans)) or "nothing"
        raise BackendError(f"Triton and DeepStream run plans of TensorRT, and {bundle} holds {present}: {build}")
    if plan.facts.get("decode", "host-launch") == "host-launch":
        raise BackendError(
            f"the plan in {bundle} ends with the heads, and only ssd-edge decodes them (host-launch): build it with "
            f"decode inside; {build} --decode library"
        )
    if plan.facts.get("interface") != INTERFACE:
        raise BackendError(
            f"the plan in {bundle} was built by an older ssd-edge, with an FP16 image or counts that nvinfer does not "
            f"take: build it again; {build}"
        )
    return Deployable(serving_name(bundle), bundle / plan.files[0], plan, manifest.spec)


def serving_name(bundle: Path) -> str:
    """Make a model's name of its bundle's, in letters, digits, ``_``, ``-`` and ``.``."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in bundle.resolve().stem)


def write(folder: Path, texts: Mapping[str, str], plans: Mapping[str, Path]) -> None:
    """Write a new folder with these files, complete or not at all.

    Args:
        folder: the folder to make; it may exist if it is empty.
        texts: texts by path in the folder.
        plans: files to copy, by path in the folder.

    Raises:
        BackendError: something of that name exists already.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise BackendError(f"{folder} exists and is not empty: remove it, or name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        new = Path(scratch) / "new"
        for name, text in texts.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_text(text, encoding="utf-8")
        for name, file in plans.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, new / name)
        replace_folder(new, folder)
