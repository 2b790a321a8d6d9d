"""NVIDIA's driver through ``cuda-bindings``. See ``ssd_edge.engines.cuda.driver.Driver``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
from cuda.bindings import driver

from ssd_edge.engines.cuda.driver import Argument, EglFrame, no_driver, refused, stream_handle
from ssd_edge.engines.cuda.functions import Functions

cuda: Any = Functions(driver)


class Bindings:
    """See ``Driver``."""

    can_capture = True

    def __init__(self) -> None:
        try:
            (status,) = driver.cuInit(0)
        except RuntimeError as error:  # the loader of cuda-bindings found no driver library
            raise no_driver(str(error).splitlines()[0]) from None
        if status != cuda.CUresult.CUDA_SUCCESS:
            raise refused(status.name, "starting the driver")
        self._devices: dict[int, Any] = {}

    def _call(self, doing: str, answer: tuple[Any, ...]) -> Any:
        status, *values = answer
        if status != cuda.CUresult.CUDA_SUCCESS:
            raise refused(status.name, doing)
        return values[0] if len(values) == 1 else tuple(values)

    def release(self) -> tuple[int, int]:
        """See ``Driver``."""
        number = self._call("asking for the driver's release", cuda.cuDriverGetVersion())
        return number // 1000, number % 1000 // 10

    def device_count(self) -> int:
        """See ``Driver``."""
        return int(self._call("counting GPUs", cuda.cuDeviceGetCount()))

    def device_name(self, index: int) -> str:
        """See ``Driver``."""
        name: bytes = self._call("asking for a GPU's name", cuda.cuDeviceGetName(256, self._device(index)))
        return name.partition(b"\0")[0].decode(errors="replace")

    def compute_capability(self, index: int) -> tuple[int, int]:
        """See ``Driver``."""
        attribute = cuda.CUdevice_attribute
        return (
            self._attribute(index, attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            self._attribute(index, attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        )

    def integrated(self, index: int) -> bool:
        """See ``Driver``."""
        return bool(self._attribute(index, cuda.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_INTEGRATED))

    def _attribute(self, index: int, which: Any) -> int:
        answer = cuda.cuDeviceGetAttribute(which, self._device(index))
        return int(self._call("asking what a GPU is", answer))

    def _device(self, index: int) -> Any:
        if index not in self._devices:
            self._devices[index] = self._call(f"opening GPU {index}", cuda.cuDeviceGet(index))
        return self._devices[index]

    def retain_context(self, index: int) -> int:
        """See ``Driver``."""
        return int(self._call("opening the GPU's context", cuda.cuDevicePrimaryCtxRetain(self._device(index))))

    def release_context(self, index: int) -> None:
        """See ``Driver``."""
        self._call("closing the GPU's context", cuda.cuDevicePrimaryCtxRelease(self._device(index)))

    def current_context(self) -> int:
        """See ``Driver``."""
        return int(self._call("asking for the context", cuda.cuCtxGetCurrent()))

    def current_device(self) -> int:
        """See ``Driver``."""
        return int(self._call("asking for the context's GPU", cuda.cuCtxGetDevice()))

    def set_context(self, context: int) -> None:
        """See ``Driver``."""
        self._call("entering the GPU's context", cuda.cuCtxSetCurrent(cuda.CUcontext(context)))

    def memory(self) -> tuple[int, int]:
        """See ``Driver``."""
        free, total = self._call("asking for free memory", cuda.cuMemGetInfo())
        return int(free), int(total)

    def allocate(self, nbytes: int) -> int:
        """See ``Driver``."""
        return int(self._call("allocating memory on the GPU", cuda.cuMemAlloc(nbytes)))

    def free(self, address: int) -> None:
        """See ``Driver``."""
        self._call("freeing memory on the GPU", cuda.cuMemFree(cuda.CUdeviceptr(address)))

    def allocate_pinned(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """See ``Driver``."""
        return _array(self._call("allocating pinned memory", cuda.cuMemHostAlloc(nbytes, 0)), nbytes)

    def allocate_mapped(self, nbytes: int) -> tuple[npt.NDArray[np.uint8], int]:
        """See ``Driver``."""
        doing = "allocating memory that the GPU shares"
        with ExitStack() as undo:
            array = _array(self._call(doing, cuda.cuMemHostAlloc(nbytes, cuda.CU_MEMHOSTALLOC_DEVICEMAP)), nbytes)
            undo.callback(self.free_pinned, array)
            address = int(self._call(doing, cuda.cuMemHostGetDevicePointer(array.ctypes.data, 0)))
            undo.pop_all()
        return array, address

    def free_pinned(self, array: npt.NDArray[np.uint8]) -> None:
        """See ``Driver``."""
        self._call("freeing pinned memory", cuda.cuMemFreeHost(array.ctypes.data))

    def upload(self, address: int, array: npt.NDArray[Any], stream: int) -> None:
        """See ``Driver``."""
        source, target = array.ctypes.data, cuda.CUdeviceptr(address)
        self._call("copying to the GPU", cuda.cuMemcpyHtoDAsync(target, source, array.nbytes, _stream(stream)))

    def download(self, array: npt.NDArray[Any], address: int, stream: int) -> None:
        """See ``Driver``."""
        target, source = array.ctypes.data, cuda.CUdeviceptr(address)
        self._call("copying from the GPU", cuda.cuMemcpyDtoHAsync(target, source, array.nbytes, _stream(stream)))

    def create_stream(self) -> int:
        """See ``Driver``."""
        flag = cuda.CUstream_flags.CU_STREAM_NON_BLOCKING.value
        return int(self._call("making a stream", cuda.cuStreamCreate(flag)))

    def destroy_stream(self, stream: int) -> None:
        """See ``Driver``."""
        self._call("ending a stream", cuda.cuStreamDestroy(_stream(stream)))

    def adopt_stream(self, stream: object) -> int:
        """Take a handle, a pycuda Stream, or anything with ``__cuda_stream__``; see ``Driver``."""
        handle = stream_handle(stream)
        if handle is None:
            raise TypeError(f"a stream must be a handle, a pycuda Stream or have __cuda_stream__, but got {stream!r}")
        return handle

    def disown_stream(self, stream: int) -> None:
        """See ``Driver``."""

    def synchronize_stream(self, stream: int) -> None:
        """See ``Driver``."""
        self._call("waiting for the GPU", cuda.cuStreamSynchronize(_stream(stream)))

    def wait_event(self, stream: int, event: int) -> None:
        """See ``Driver``."""
        self._call("waiting for an event", cuda.cuStreamWaitEvent(_stream(stream), cuda.CUevent(event), 0))

    def create_event(self) -> int:
        """See ``Driver``."""
        return int(self._call("making an event", cuda.cuEventCreate(cuda.CUevent_flags.CU_EVENT_DEFAULT.value)))

    def destroy_event(self, event: int) -> None:
        """See ``Driver``."""
        self._call("ending an event", cuda.cuEventDestroy(cuda.CUevent(event)))

    def record_event(self, event: int, stream: int) -> None:
        """See ``Driver``."""
        self._call("recording an event", cuda.cuEventRecord(cuda.CUevent(event), _stream(stream)))

    def synchronize_event(self, event: int) -> None:
        """See ``Driver``."""
        self._call("waiting for the GPU", cuda.cuEventSynchronize(cuda.CUevent(event)))

    def milliseconds(self, start: int, end: int) -> float:
        """See ``Driver``."""
        answer = cuda.cuEventElapsedTime(cuda.CUevent(start), cuda.CUevent(end))
        return float(self._call("taking the time on the GPU", answer))

    def load_module(self, image: bytes) -> int:
        """See ``Driver``."""
        return int(self._call("loading the kernels", cuda.cuModuleLoadData(image)))

    def unload_module(self, module: int) -> None:
        """See ``Driver``."""
        self._call("unloading the kernels", cuda.cuModuleUnload(cuda.CUmodule(module)))

    def function(self, module: int, name: str) -> int:
        """See ``Driver``."""
        return int(
            self._call(f"looking for kernel {name}", cuda.cuModuleGetFunction(cuda.CUmodule(module), name.encode()))
        )

    def prepare(
        self,
        function: int,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[Argument],
    ) -> _Prepared:
        """See ``Driver``."""
        return _Prepared(self, function, (*grid, *block), arguments)

    def begin_capture(self, stream: int) -> None:
        """See ``Driver``."""
        # Thread-local: calls of other threads on the GPU must not disturb the capture.
        mode = cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("capturing a graph", cuda.cuStreamBeginCapture(_stream(stream), mode))

    def end_capture(self, stream: int) -> int:
        """See ``Driver``."""
        graph = self._call("capturing a graph", cuda.cuStreamEndCapture(_stream(stream)))
        with ExitStack() as undo:
            try:
                executable = int(self._call("making a graph", cuda.cuGraphInstantiate(graph, 0)))
                undo.callback(self.destroy_graph, executable)
            finally:
                self._call("ending a capture", cuda.cuGraphDestroy(graph))
            undo.pop_all()
        return executable

    def launch_graph(self, graph: int, stream: int) -> None:
        """See ``Driver``."""
        self._call("launching a graph", cuda.cuGraphLaunch(cuda.CUgraphExec(graph), _stream(stream)))

    def destroy_graph(self, graph: int) -> None:
        """See ``Driver``."""
        self._call("ending a graph", cuda.cuGraphExecDestroy(cuda.CUgraphExec(graph)))

    def map_egl_image(self, image: int) -> EglFrame:
        """See ``Driver``."""
        doing = "mapping a surface"
        resource = self._call(doing, cuda.cuGraphicsEGLRegisterImage(image, 0))
        with ExitStack() as undo:
            undo.callback(self.unmap_egl_image, int(resource))
            frame = self._call(doing, cuda.cuGraphicsResourceGetMappedEglFrame(resource, 0, 0))
            undo.pop_all()
        in_rows = frame.frameType == cuda.CUeglFrameType.CU_EGL_FRAME_TYPE_PITCH
        addresses = tuple(int(frame.frame.pPitch[place]) for place in range(frame.planeCount)) if in_rows else ()
        size = int(frame.height), int(frame.width)
        return EglFrame(int(resource), addresses, int(frame.pitch), size, str(frame.eglColorFormat.name))

    def unmap_egl_image(self, resource: int) -> None:
        """See ``Driver``."""
        self._call("unmapping a surface", cuda.cuGraphicsUnregisterResource(cuda.CUgraphicsResource(resource)))


class _Prepared:
    """See ``ssd_edge.engines.cuda.driver.Prepared``."""

    def __init__(self, driver: Bindings, function: int, shape: Sequence[int], arguments: Sequence[Argument]) -> None:
        self._driver, self._function, self._shape = driver, cuda.CUfunction(function), shape
        # What cuLaunchKernel takes: an array of pointers to the values. Each value has 8 bytes, of which an int32 has
        # the first 4, on a little-endian machine.
        count, size = len(arguments), ctypes.sizeof(ctypes.c_uint64)
        self._values = (ctypes.c_uint64 * count)(*(int(a) & 0xFFFF_FFFF_FFFF_FFFF for a in arguments))
        first = ctypes.addressof(self._values)
        self._pointers = (ctypes.c_void_p * count)(*(first + size * place for place in range(count)))
        self._address = ctypes.addressof(self._pointers)

    def set_address(self, place: int, address: int) -> None:
        """See ``Prepared``."""
        self._values[place] = address

    def launch(self, stream: int) -> None:
        """See ``Prepared``."""
        answer = cuda.cuLaunchKernel(self._function, *self._shape, 0, _stream(stream), self._address, 0)
        self._driver._call("launching a kernel", answer)


def _array(address: int, nbytes: int) -> npt.NDArray[np.uint8]:
    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(int(address)))


def _stream(handle: int) -> Any:
    return cuda.CUstream(handle)
