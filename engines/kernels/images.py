"""Images of compiled kernels: their files' names, and the image that suits a device."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ssd_edge.errors import BundleCompatibilityError


@dataclass(frozen=True)
class KernelImage:
    """An image that a driver can load, described by its file's name: ``kernels.sm_87.cuda12.6.cubin``.

    Attributes:
        architecture: the architecture that it was compiled for.
        cuda: CUDA release of the compiler, ``(12, 6)``.
        kind: ``cubin`` or ``ptx``.
    """

    architecture: str
    cuda: tuple[int, int]
    kind: str

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Compute capability of the architecture: ``sm_120`` is (12, 0)."""
        major, minor = divmod(int(self.architecture.removeprefix("sm_")), 10)
        return major, minor

    @property
    def file_name(self) -> str:
        """Name of the image's file, from which ``of_file`` recovers the image."""
        return f"kernels.{self.architecture}.cuda{self.cuda[0]}.{self.cuda[1]}.{self.kind}"

    @staticmethod
    def of_file(name: str) -> KernelImage | None:
        """Parse a file's name; None if it is not the name of an image."""
        match = re.fullmatch(r"kernels\.(sm_\d+)\.cuda(\d+)\.(\d+)\.(cubin|ptx)", name)
        return KernelImage(match[1], (int(match[2]), int(match[3])), match[4]) if match else None

    @staticmethod
    def among(names: Iterable[str]) -> list[KernelImage]:
        """Find the images among a plan's files."""
        return [image for name in names if (image := KernelImage.of_file(name)) is not None]


def choose_image(
    images: Iterable[KernelImage], compute_capability: tuple[int, int], cuda: tuple[int, int]
) -> KernelImage:
    """Choose the image for a device: a cubin for it, else the PTX of the nearest lower compute capability.

    A driver takes a cubin of its major CUDA release or an older one, and PTX of its release or an older one; of several
    that it takes, the one by the newest compiler is chosen. https://docs.nvidia.com/deploy/cuda-compatibility/

    Args:
        images: the images to choose from.
        compute_capability: compute capability of the device, (8, 7).
        cuda: latest CUDA release that the driver supports, (12, 6).

    Raises:
        BundleCompatibilityError: none of the images suits.
    """
    images = list(images)
    cubins = [i for i in images if i.kind == "cubin" and i.compute_capability == compute_capability]
    ptxs = [i for i in images if i.kind == "ptx" and i.compute_capability <= compute_capability]
    suitable = [i for i in cubins if i.cuda[0] <= cuda[0]] or [i for i in ptxs if i.cuda <= cuda]
    if suitable:
        return max(suitable, key=lambda image: (image.compute_capability, image.cuda))
    device = f"compute capability {compute_capability[0]}.{compute_capability[1]}"
    if cubins or ptxs:
        oldest = min(image.cuda for image in (*cubins, *ptxs))
        raise BundleCompatibilityError(
            f"the kernels for {device} were compiled by CUDA {oldest[0]}.{oldest[1]}, and this driver knows no release "
            f"after {cuda[0]}.{cuda[1]}: install a newer driver, or compile them by CUDA {cuda[0]}.{cuda[1]}"
        )
    present = sorted({image.architecture for image in images}, key=lambda name: int(name[3:]))
    raise BundleCompatibilityError(f"no kernels for {device} or below: there are {', '.join(present) or 'none'}")
