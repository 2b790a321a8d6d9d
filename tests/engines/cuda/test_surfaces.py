"""Surfaces by their EGLImage, over the emulated driver: mapped, detected in, unmapped; those that cannot be read."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from cuda.bindings import driver as cuda

from ssd_edge.engines.cuda.device import Device, open_driver
from ssd_edge.engines.cuda.surfaces import Surface
from ssd_edge.errors import BackendError
from ssd_edge.pixels import Colour, RawFrame
from tests.cuda.emulated import Emulated, use_emulated_driver
from tests.cuda.fixtures import use_pycuda

PITCH, HEIGHT, WIDTH = 256, 60, 81


class EglFrame(ctypes.Structure):
    _fields_ = [
        ("planes", ctypes.c_void_p * 3),
        *((name, ctypes.c_uint) for name in ("width", "height", "depth", "pitch", "plane_count", "channels")),
        *((name, ctypes.c_int) for name in ("frame_type", "color_format", "array_format")),
    ]


def image_of(planes: list[int], kind: str, frame_type: int = 1) -> EglFrame:
    color = int(getattr(cuda.CUeglColorFormat, f"CU_EGL_COLOR_FORMAT_{kind}"))
    padded = (ctypes.c_void_p * 3)(*planes, *[None] * (3 - len(planes)))
    return EglFrame(padded, WIDTH, HEIGHT, 0, PITCH, len(planes), 1, frame_type, color, 1)


def left() -> int:
    function = use_emulated_driver.__globals__["_loaded"]()._library.emulated_surfaces
    function.restype = ctypes.c_long
    return int(function())


def test_a_surface_is_a_layout_from_its_first_plane_on(emulated: Emulated) -> None:
    with Device(driver=open_driver("cuda-bindings")) as device, device.buffer(PITCH * HEIGHT * 2) as buffer:
        image = image_of([buffer.address, buffer.address + PITCH * 64], "YUV420_SEMIPLANAR_709")
        with Surface(device.driver, ctypes.addressof(image)) as surface:
            assert surface.address == buffer.address
            layout = surface.layout
            assert (layout.pixel_format, layout.size, layout.colour) == ("NV12", (HEIGHT, WIDTH), Colour("bt709"))
            assert (layout.offsets, layout.strides) == ((0, PITCH * 64), (PITCH, PITCH))
            RawFrame(np.zeros(layout.nbytes, np.uint8), layout)
            assert left() == 1
        assert left() == 0


@pytest.mark.parametrize(
    ("planes", "kind", "frame_type"), [(2, "AYUV", 1), (1, "YUV420_SEMIPLANAR", 1), (2, "YUV420_SEMIPLANAR", 0)]
)
def test_a_surface_that_the_kernels_do_not_read(emulated: Emulated, planes: int, kind: str, frame_type: int) -> None:
    with Device(driver=open_driver("cuda-bindings")) as device, device.buffer(100000) as buffer:
        image = image_of([buffer.address] * planes, kind, frame_type)
        with pytest.raises(BackendError, match=r"^a surface is CU_EGL_COLOR_FORMAT_.* convert it with nvvidconv"):
            Surface(device.driver, ctypes.addressof(image))
        assert left() == 0


def test_no_image(emulated: Emulated) -> None:
    with Device(driver=open_driver("cuda-bindings")) as device, pytest.raises(BackendError, match="mapping a surface"):
        Surface(device.driver, 0)


def test_pycuda_has_no_surfaces(emulated: Emulated) -> None:
    use_pycuda()
    with Device(driver=open_driver("pycuda")) as device, pytest.raises(BackendError, match="use cuda-bindings"):
        Surface(device.driver, 0)
