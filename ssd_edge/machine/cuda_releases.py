"""The table from NVIDIA's driver to its CUDA release to the pip packages that fit it.

Every command and sentence that names such a package takes it from here, and the extras of pyproject.toml and the pages
name the same. Three rules are behind it (https://docs.nvidia.com/deploy/cuda-compatibility/):

- a driver compiles PTX of its own CUDA release or an older one, so NVRTC must not be newer than the driver;
- a driver runs a cubin of its own major release or an older one, whatever the minor one;
- ``cuda-bindings`` calls functions of the release that it was made for, and a driver has those of its own and older
  ones. So CUDA 13.0's packages fit all drivers of CUDA 13.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CudaRelease:
    """A row: the drivers whose latest CUDA release this is, and the packages for them.

    Attributes:
        cuda: the release as the driver answers it, such as (12, 6).
        driver: first driver branch on a PC that has it, such as ``560``.
        jetpack: the JetPack releases whose driver has it; empty if none.
        l4t: major release of their Jetson Linux; 0 if none.
        bindings: requirement of ``cuda-bindings``.
        compiler: requirement of NVRTC, CUDA's compiler.
        tensorrt: requirement of TensorRT on a PC; a Jetson's comes with JetPack.
        arm: whether these packages exist for aarch64.
    """

    cuda: tuple[int, int]
    driver: str
    jetpack: str
    l4t: int
    bindings: str
    compiler: str
    tensorrt: str
    arm: bool = True

    @property
    def packages(self) -> tuple[str, str]:
        """What compiles kernels and launches them."""
        return self.bindings, self.compiler


def _cuda_12(minor: int, driver: str, jetpack: str = "", l4t: int = 0, nvrtc: int | None = None) -> CudaRelease:
    compiler = f"nvidia-cuda-nvrtc-cu12==12.{minor if nvrtc is None else nvrtc}.*"
    return CudaRelease(
        (12, minor), driver, jetpack, l4t, "cuda-bindings==12.*", compiler, "tensorrt-cu12>=10.3", arm=minor >= 3
    )


def _cuda_13(minor: int, driver: str, jetpack: str = "", l4t: int = 0) -> CudaRelease:
    packages = "cuda-bindings==13.0.*", "nvidia-cuda-nvrtc==13.0.*", "tensorrt-cu13>=10.13"
    return CudaRelease((13, minor), driver, jetpack, l4t, *packages)


# Drivers: table 3 of https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/
RELEASES = (
    _cuda_12(0, "525"),
    _cuda_12(1, "530"),
    _cuda_12(2, "535"),
    _cuda_12(3, "545"),
    _cuda_12(4, "550"),
    _cuda_12(5, "555"),
    _cuda_12(6, "560", "6.1, 6.2", 36),
    _cuda_12(7, "565", nvrtc=6),  # there was no toolkit 12.7
    _cuda_12(8, "570"),
    _cuda_12(9, "575"),
    _cuda_13(0, "580", "7.0, 7.1", 38),
    _cuda_13(1, "590"),
    _cuda_13(2, "595", "7.2", 39),
)
"""The rows, oldest first."""

TOOLCHAIN_FOR_JETPACK_6 = ("cuda-bindings==12.8.0", "nvidia-cuda-nvrtc-cu12==12.6.85")
"""The packages of CUDA 12.6 for a folder of their own, see ``engines/kernels/toolchain.py``: these need no others."""


def release_for(cuda: tuple[int, int], architecture: str = "x86_64") -> CudaRelease | None:
    """Find the row for a driver: the newest that is not newer than the driver; None if no packages fit.

    Args:
        cuda: the driver's latest CUDA release.
        architecture: as ``platform.machine()``.
    """
    older = [row for row in RELEASES if row.cuda <= cuda and (row.arm or architecture != "aarch64")]
    return older[-1] if older else None


def release_of_jetson(l4t: tuple[int, ...]) -> CudaRelease | None:
    """Find the row for a Jetson whose driver cannot be asked, by its Jetson Linux; None for JetPack 5 and older."""
    return next((row for row in reversed(RELEASES) if row.l4t and row.l4t <= l4t[0]), None)
