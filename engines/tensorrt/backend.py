"""TensorRT backend: plans for the GPU that they are built on, a Jetson's or any other, with decode inside.

Its files in a bundle: ``model.plan``, which trtexec can run directly; the kernels as a cubin and PTX;
``timing.cache``; and ``layers.json``, which describes each layer of the plan.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ssd_edge.detector import Engine
from ssd_edge.engines.base import BuildOptions, Plan, PlanEntry
from ssd_edge.engines.cuda.device import open_driver
from ssd_edge.engines.cuda.driver import Driver
from ssd_edge.engines.gpu.plan import NO_GPU, why_unfit_here
from ssd_edge.engines.kernels.compiler import compile_kernels
from ssd_edge.engines.kernels.launch import check_limits
from ssd_edge.engines.nvidia.child import ask_child
from ssd_edge.engines.nvidia.convolutions import choose_precision
from ssd_edge.engines.nvidia.needed import needed
from ssd_edge.engines.plugins.decode_graph import INTERFACE, TENSORRT_NAME
from ssd_edge.engines.plugins.forms import NEEDED_AT_RUN_TIME, check_streams, choose_form, form_with_kernels
from ssd_edge.engines.plugins.library_plugin import NAME as LIBRARY
from ssd_edge.engines.tensorrt.dla import check_dla
from ssd_edge.engines.tensorrt.fitness import installed_version
from ssd_edge.engines.tensorrt.fitness import why_unfit as _why_unfit
from ssd_edge.engines.tensorrt.request import Request
from ssd_edge.engines.tensorrt.versions import LEVELS, release_of
from ssd_edge.errors import BackendError
from ssd_edge.graph.heads import precision_of
from ssd_edge.machine import jetson
from ssd_edge.machine.host import this_host
from ssd_edge.progress import Progress
from ssd_edge.spec import ModelSpec

NAME = "tensorrt"
OPTIONS = frozenset(
    {
        "precision",
        "decode",
        "workspace_mib",
        "optimisation_level",
        "version_compatible",
        "hardware_compatible",
        "dla_core",
        "strict",
        "max_batch",
        "timing_cache",
    }
)

PLAN, TIMING, LAYERS = "model.plan", "timing.cache", "layers.json"
ANY_PROCESSOR = False
CARRIED = (TIMING,)


def build(onnx: Path, spec: ModelSpec, folder: Path, options: BuildOptions, progress: Progress) -> Plan:
    """Build a plan: FP16 from FP32 heads unless FP32 is asked for, INT8 with FP16 elsewhere from Q/DQ heads.

    See ``Backend``.
    """
    version = needed(installed_version(), "TensorRT", NAME)
    driver = _driver_of_a_gpu()
    check_limits(spec, options.max_batch)
    _check(options)
    capability = driver.compute_capability(0)
    form = choose_form(options.decode, release_of(version))
    precision = choose_precision(options.precision, precision_of(onnx), spec)
    images = compile_kernels(f"sm_{capability[0]}{capability[1]}").images
    form, chosen, instead = form_with_kernels(form, options.decode is not None, images, capability, driver.release())
    if form == "python":
        check_streams(driver)
    if instead:
        progress(0, 0, instead)
    request = Request(
        source=str(onnx),
        plan=str(folder / PLAN),
        timing=str(folder / TIMING),
        layers=str(folder / LAYERS),
        kernels="" if form in {"host-launch", "library"} else str(folder / chosen.file_name),
        precision=precision,
        form=form,
        workspace_mib=options.workspace_mib,
        optimisation_level=-1 if options.optimisation_level is None else options.optimisation_level,
        version_compatible=options.version_compatible,
        hardware_compatible=options.hardware_compatible or "none",
        dla_core=-1 if options.dla_core is None else options.dla_core,
        strict=options.strict,
        max_batch=options.max_batch,
    )
    check_dla(request, release_of(version))
    if options.timing_cache is not None and not (folder / TIMING).exists():
        shutil.copyfile(options.timing_cache, folder / TIMING)
    for image, content in images.items():
        (folder / image.file_name).write_bytes(content)
    facts = ask_child("ssd_edge.engines.tensorrt.compile", "TensorRT", request.to_json(), progress)
    facts = {**_facts(driver, request), **facts, **({"decode_instead": instead} if instead else {})}
    return Plan((PLAN, *sorted(image.file_name for image in images), TIMING, LAYERS), version, precision, facts)


def load(folder: Path, plan: PlanEntry, spec: ModelSpec) -> Engine:
    """See ``Backend``."""
    from ssd_edge.engines.tensorrt.runtime import open_engine

    return open_engine(folder, plan, spec)


def incompatibility(plan: PlanEntry) -> str | None:
    """See ``Backend``."""
    return why_unfit_here(plan, _why_unfit, open_driver)


def trtexec_line(folder: Path, plan: PlanEntry) -> str:
    """Format the trtexec command that measures a plan without ssd-edge."""
    parts = ["trtexec", f"--loadEngine={folder / plan.files[0]}"]
    if plan.facts.get("decode") in NEEDED_AT_RUN_TIME:  # the library also provides the nodes of the Python forms
        parts.append(f"--staticPlugins={LIBRARY}")
    if "dla_core" in plan.facts:
        parts.append(f"--useDLACore={plan.facts['dla_core']}")
    if plan.facts.get("version_compatible") == "yes":
        parts.append("--versionCompatible")
    return " ".join([*parts, "--useCudaGraph", "--useSpinWait", "--noDataTransfers"])


def _driver_of_a_gpu() -> Driver:
    advice = (
        "a plan of TensorRT is built on the GPU that runs it: build there; --backend tensorrt-rtx builds anywhere, for "
        "RTX cards"
    )
    try:
        driver = open_driver()
        number = driver.device_count()
    except BackendError as error:
        raise BackendError(f"{error}; {advice}") from None
    if number == 0:
        raise BackendError(f"{NO_GPU}; {advice}")
    return driver


def _check(options: BuildOptions) -> None:
    level = options.optimisation_level
    if level is not None and not 0 <= level <= 5:
        raise BackendError(f"the optimisation level must be in 0 … 5, but got {level}")
    if options.hardware_compatible not in {None, *LEVELS}:
        raise BackendError(
            f"hardware compatibility must be {' or '.join(LEVELS)}, but got {options.hardware_compatible!r}"
        )


def _facts(driver: Driver, request: Request) -> dict[str, str]:
    """Facts for the manifest about the machine and the options of the build."""
    capability, release = driver.compute_capability(0), driver.release()
    facts = {
        "decode": request.form,
        "compute_capability": ".".join(map(str, capability)),
        "gpu": driver.device_name(0),
        "driver": ".".join(map(str, release)),
        "hardware_compatible": request.hardware_compatible,
        "version_compatible": "yes" if request.version_compatible else "no",
        "max_batch": str(request.max_batch),
        "optimisation_level": "its own" if request.optimisation_level < 0 else str(request.optimisation_level),
    }
    if request.form != "host-launch":
        facts |= {"plugin_version": TENSORRT_NAME["plugin_version"], "interface": INTERFACE}
    l4t = jetson.release(this_host())
    return facts if l4t is None else {**facts, "jetpack": ".".join(map(str, l4t))}
