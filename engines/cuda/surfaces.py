"""Surfaces of a camera or decoder in the GPU's memory (NVMM), by their EGLImage. Unproven: no device has run this.

A Jetson's decoder and image processor give NvBufSurface buffers; ``NvBufSurfaceMapEglImage`` makes an EGLImage of one,
which CUDA maps: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__EGL.html
"""

from __future__ import annotations

from collections.abc import Mapping

from ssd_edge.engines.cuda.driver import Driver, EglFrame
from ssd_edge.engines.cuda.resource import Resource
from ssd_edge.errors import BackendError
from ssd_edge.pixels import BT601, FORMATS, Colour, Layout

_REACH = 1 << 31


_LIMITED, _FULL = Colour("bt709"), Colour("bt709", full_range=True)
KINDS: Mapping[str, tuple[str, Colour]] = {
    "CU_EGL_COLOR_FORMAT_YUV420_SEMIPLANAR": ("NV12", BT601),
    "CU_EGL_COLOR_FORMAT_YUV420_SEMIPLANAR_ER": ("NV12", Colour("bt601", full_range=True)),
    "CU_EGL_COLOR_FORMAT_YUV420_SEMIPLANAR_709": ("NV12", _LIMITED),
    "CU_EGL_COLOR_FORMAT_YUV420_SEMIPLANAR_709_ER": ("NV12", _FULL),
    "CU_EGL_COLOR_FORMAT_L": ("GRAY8", BT601),
    "CU_EGL_COLOR_FORMAT_ARGB": ("BGRx", BT601),  # names go from the highest byte of a word to the lowest
}
"""Pixel format and colour by CUeglColorFormat."""


class Surface(Resource):
    """An EGLImage mapped for kernels, until it is closed.

    Args:
        driver: the driver; the GPU's context has to be current.
        image: the EGLImage's handle.

    Attributes:
        address: address of its first plane on the GPU.
        layout: how the frame lies from there on.

    Raises:
        BackendError: the driver refused it, or its pixels lie in a way that the kernels do not read.
    """

    def __init__(self, driver: Driver, image: int) -> None:
        frame = driver.map_egl_image(image)
        try:
            self.address, self.layout = _laid_out(frame)
        except BackendError:
            driver.unmap_egl_image(frame.resource)
            raise
        super().__init__(lambda: driver.unmap_egl_image(frame.resource))


def _laid_out(frame: EglFrame) -> tuple[int, Layout]:
    pixel_format, colour = KINDS.get(frame.kind, ("", BT601))
    planes = FORMATS.get(pixel_format, ())
    if not planes or len(frame.addresses) != len(planes):
        raise BackendError(
            f"a surface is {frame.kind} with {len(frame.addresses)} planes in rows, but the kernels read "
            f"{', '.join(KINDS)} in rows (pitch linear): convert it with nvvidconv or nvvideoconvert first"
        )
    first = min(frame.addresses)
    offsets = tuple(address - first for address in frame.addresses)
    if max(offsets) >= _REACH:
        raise BackendError("a surface's planes lie 2 GiB or more apart: allocate them as one buffer")
    return first, Layout(pixel_format, frame.size, offsets, (frame.pitch,) * len(offsets), colour)
