"""Compiled kernels on the device."""

from __future__ import annotations

import re
import struct

from ssd_edge.engines.cuda.driver import CudaError, Driver
from ssd_edge.engines.cuda.resource import Resource

_UNSUITABLE = {"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "CUDA_ERROR_INVALID_PTX", "CUDA_ERROR_NO_BINARY_FOR_GPU"}

_ELF = struct.Struct("<16sHHIQQQIHHHHHH")  # the header of an ELF file of 64 bits, and places in it
_SECTIONS_AT, _SECTION_SIZE, _SECTIONS = 6, 11, 12


class Module(Resource):
    """Compiled kernels on the device."""

    def __init__(self, driver: Driver, image: bytes) -> None:
        image = _complete(image)
        try:
            self._handle = driver.load_module(image)
        except CudaError as error:
            raise _unsuitable(error, image, driver) from None
        self._driver = driver
        self._functions: dict[str, int] = {}
        super().__init__(lambda: driver.unload_module(self._handle))

    def function(self, name: str) -> int:
        """Look up a kernel's handle.

        Raises:
            CudaError: the module has no kernel of that name.
        """
        if name not in self._functions:
            self._functions[name] = self._driver.function(self._handle, name)
        return self._functions[name]


def _complete(image: bytes) -> bytes:
    """Check that an image is complete, since the driver is told no size and finds the end itself.

    Raises:
        CudaError: the image is cut off, or is neither a cubin nor PTX.
    """
    if image.startswith(b"\x7fELF") and len(image) >= _ELF.size:
        fields = _ELF.unpack_from(image)
        end = fields[_SECTIONS_AT] + fields[_SECTION_SIZE] * fields[_SECTIONS]
        if end <= len(image):
            return image
    elif b".version" in image:
        return image if image.endswith(b"\0") else image + b"\0"
    raise CudaError("CUDA_ERROR_INVALID_IMAGE", "the kernels are neither a whole cubin nor PTX: build the bundle again")


def _unsuitable(error: CudaError, image: bytes, driver: Driver) -> CudaError:
    """Add what the image needs and what the driver supports to an error, if that is its reason."""
    if error.name not in _UNSUITABLE:
        return error
    ptx = re.search(rb"\.version\s+([\d.]+)\s+\.target\s+(\w+)", image)
    if image.startswith(b"\x7fELF") or ptx is None:
        kind = "a cubin for another GPU or of another CUDA release"
    else:
        kind = f"PTX {ptx[1].decode()} for {ptx[2].decode()}"
    major, minor = driver.release()
    return CudaError(
        error.name,
        f"loading the kernels failed: they are {kind}, and the driver, of CUDA {major}.{minor}, does not take it: "
        "install a newer driver, or build the bundle again for this GPU and by the driver's CUDA release",
    )
