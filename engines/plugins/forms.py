"""Choose how a TensorRT engine gets its decode. There are four forms:

    ahead-of-time   kernels inside the plan, as PTX; nothing of the project is needed where it runs (10.9 and later)
    python          plugins of this package, in the process that builds and in the one that runs
    library         plugins of a C++ library, for trtexec, DeepStream, Triton and any program
    host-launch     no plugins: the plan ends with the heads, and the kernels are launched after it

All four launch the kernels of ``kernels.cu`` as ``launch.py`` plans them, and give the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ssd_edge.engines.cuda.driver import Driver
from ssd_edge.engines.kernels.images import KernelImage, choose_image
from ssd_edge.errors import BackendError, BundleCompatibilityError

FORMS = ("ahead-of-time", "python", "library", "host-launch")

NEEDED_AT_RUN_TIME = frozenset({"python", "library"})
"""Forms whose plugins must be registered before TensorRT deserialises a plan."""

AHEAD_OF_TIME_SINCE = (10, 9)

_A_HANDLE = 1  # no stream is used, only asked for

_known: dict[str, str] = {}  # form → SHA-256 of its kernels; TensorRT's registry is one for the process


def choose_form(asked: str | None, release: tuple[int, int]) -> str:
    """Choose the form asked for, or else the one that needs the least installed where the engine runs.

    Args:
        asked: one of ``FORMS``; None for the best.
        release: TensorRT's release, (10, 3) or later.

    Raises:
        BackendError: there is no such form, or this release does not support it.
    """
    if asked is not None and asked not in FORMS:
        raise BackendError(f"no form of decode is called {asked!r}; there are {', '.join(FORMS)}")
    if asked == "ahead-of-time" and release < AHEAD_OF_TIME_SINCE:
        raise BackendError(
            "decode ahead-of-time needs TensorRT {}.{} or later, and {}.{} is installed: --decode python runs the same "
            "kernels".format(*AHEAD_OF_TIME_SINCE, *release)
        )
    return asked or ("ahead-of-time" if release >= AHEAD_OF_TIME_SINCE else "python")


def check_streams(driver: Driver) -> None:
    """Check that decode ``python`` can launch kernels on the streams that TensorRT makes.

    Raises:
        BackendError: the driver's library knows no streams but its own.
    """
    try:
        driver.disown_stream(driver.adopt_stream(_A_HANDLE))
    except TypeError:
        raise BackendError(
            "decode python runs on TensorRT's own streams, which pycuda cannot use: pip install cuda-bindings, or "
            "build with --decode library or host-launch"
        ) from None


def form_with_kernels(
    form: str, asked: bool, images: Iterable[KernelImage], compute_capability: tuple[int, int], cuda: tuple[int, int]
) -> tuple[str, KernelImage, str]:
    """Choose the kernels' image for a form; where the driver refuses the PTX of ahead-of-time, use python in its place.

    Args:
        form: result of ``choose_form``.
        asked: whether the user asked for that form, which is then not replaced.
        images: the compiled kernels.
        compute_capability: compute capability of the GPU.
        cuda: latest CUDA release that the driver supports.

    Returns:
        The form, the image, and why it is another form; "" if it is the same.

    Raises:
        BundleCompatibilityError: the driver takes none of the images.
    """
    images = list(images)
    if form != "ahead-of-time":
        return form, choose_image(images, compute_capability, cuda), ""
    try:  # that form embeds PTX only
        return form, choose_image([i for i in images if i.kind == "ptx"], compute_capability, cuda), ""
    except BundleCompatibilityError:
        if asked:
            raise
    chosen = choose_image(images, compute_capability, cuda)
    by, knows = (".".join(map(str, release)) for release in (chosen.cuda, cuda))
    return "python", chosen, f"python, not ahead-of-time: PTX by NVRTC {by} is refused by this driver of CUDA {knows}"


def make_known(form: str, kernels: bytes, tensorrt: Any, folder: Path | None = None) -> None:
    """Register the decode nodes with TensorRT, before a graph with them is parsed or such a plan deserialised.

    A second call with the same kernels does nothing: the plugins stay registered until the process ends.

    Args:
        form: one of ``FORMS``; nothing is done for host-launch.
        kernels: an image of kernels.cu for this GPU: PTX for ahead-of-time, PTX or a cubin for python; a library has
            its own.
        tensorrt: the module ``tensorrt``.
        folder: another folder where a library may lie, such as the bundle's.

    Raises:
        BackendError: the process already has other plugins of these names, or the library is missing or does not
            match.
    """
    if choose_form(form, AHEAD_OF_TIME_SINCE) == "host-launch":
        return
    digest = hashlib.sha256(b"" if form == "library" else kernels).hexdigest()
    if _known.get(form) == digest:
        return
    if _known:
        raise BackendError(
            f"this process has decode {' '.join(_known)} already, and TensorRT keeps one per process: run decode {form}"
            + (" with the kernels of another GPU" if form in _known else "")
            + " in a process of its own"
        )
    if form == "ahead-of-time":
        from ssd_edge.engines.plugins import ahead_of_time

        ahead_of_time.register(kernels)
    elif form == "python":
        from ssd_edge.engines.plugins import python_plugin

        python_plugin.register(kernels, tensorrt)
    else:
        from ssd_edge.engines.plugins import library_plugin

        library_plugin.load(tensorrt, folder)
    _known[form] = digest
