"""A process in which the small TensorRT builds, stores, loads and runs the decode nodes of one form of plugins.

``python -m tests.tensorrt.nodes_in_tensorrt FORM RELEASE``; it exits with 0 if all results equal those of in_numpy.py
to the last bit.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from ssd_edge.boxes import default_boxes
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.kernels.compiler import compile_kernels
from ssd_edge.engines.kernels.launch import bits, decode_launches
from ssd_edge.engines.plugins import forms
from ssd_edge.engines.plugins.decode_graph import node_attributes
from tests.cuda.build import kernel_library
from tests.cuda.emulated import use_emulated_driver
from tests.engines.plugins.test_decode_graph import SPECS, random_heads
from tests.tensorrt.native import plugin_on_cpu, small_tensorrt
from tests.tensorrt.python_plugins import REFERENCE

DTYPES = {0: np.dtype(np.float32), 1: np.dtype(np.float16), 3: np.dtype(np.int32)}
"""NumPy types by the number of nvinfer1::DataType."""

BATCH = 3


class Host:
    """Plugins of the C++ library; their launches run on arrays of this process."""

    def __init__(self, release: str) -> None:
        self.library = ctypes.CDLL(str(plugin_on_cpu(release)))
        self.library.last_launch.restype = ctypes.c_char_p
        self.library.use_kernels(str(kernel_library().path).encode())

    def run(self, node: Node, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], plan: Any) -> None:
        node.run([one.ctypes.data for one in inputs], [one.ctypes.data for one in outputs], 0)
        x, y, _ = plan.grid
        assert self.library.last_launch().decode() == f"{plan.kernel} {x} {y}"

    def close(self) -> None:
        pass


class Gpu:
    """Plugins in Python; their launches run on the emulated GPU."""

    def __init__(self, release: str) -> None:
        trt = importlib.import_module("tensorrt_bindings")
        self.emulated = use_emulated_driver()
        images = compile_kernels("sm_86").images
        forms.make_known("python", next(c for i, c in images.items() if i.kind == "cubin"), trt)
        self.device = Device()

    def run(self, node: Node, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], _: Any) -> None:
        with ExitStack() as stack:
            stream = stack.enter_context(self.device.stream())
            sides = [[stack.enter_context(self.device.buffer(a.nbytes)) for a in side] for side in (inputs, outputs)]
            for buffer, array in zip(sides[0], inputs, strict=True):
                stream.upload(buffer, array)
            node.run(*([buffer.address for buffer in side] for side in sides), stream.handle)
            for buffer, array in zip(sides[1], outputs, strict=True):
                stream.download(array, buffer)
            stream.synchronize()

    def close(self) -> None:
        self.device.close()
        assert self.emulated.leaks() == {}


class Node:
    """One node, made by its plugin creator."""

    def __init__(self, library: ctypes.CDLL, operator: str, attributes: Any, inputs: Sequence[np.ndarray]) -> None:
        library.open_node.restype = library.run_node.restype = ctypes.c_char_p
        self._library, self._count = library, len(attributes)
        tensors, outputs = (ctypes.c_int64 * 80)(), (ctypes.c_int64 * 80)()
        numbers = {dtype: number for number, dtype in DTYPES.items()}
        for at, one in enumerate(inputs):
            tensors[10 * at : 10 * at + 2 + one.ndim] = [numbers[one.dtype], one.ndim, *one.shape]
        names = (ctypes.c_char_p * self._count)(*(name.encode() for name in attributes))
        real = [isinstance(value, float) for value in attributes.values()]
        kinds = (ctypes.c_int * self._count)(*(1 if one else 5 for one in real))  # kFLOAT32, kINT32
        values = (ctypes.c_int32 * self._count)(
            *(bits(value) if one else value for one, value in zip(real, attributes.values(), strict=True))
        )
        count, self._node = ctypes.c_int(), ctypes.c_void_p()
        wrong = library.open_node(
            operator.encode(),
            self._count,
            names,
            kinds,
            values,
            len(inputs),
            tensors,
            outputs,
            ctypes.byref(count),
            ctypes.byref(self._node),
        )
        assert wrong == b"", (operator, wrong)
        descriptions = [outputs[10 * at : 10 * at + 10] for at in range(count.value)]
        self.outputs = [np.full(one[2 : 2 + one[1]], -7, DTYPES[one[0]]) for one in descriptions]

    def run(self, inputs: Sequence[int], outputs: Sequence[int], stream: int) -> None:
        sides = [(ctypes.c_void_p * len(side))(*side) for side in (inputs, outputs)]
        wrong = self._library.run_node(self._node, *sides, ctypes.c_void_p(stream))
        assert wrong == b"", wrong

    def close(self) -> None:
        self._library.close_node(self._node)


def main(form: str, release: str) -> None:
    library = ctypes.CDLL(str(small_tensorrt(release)), ctypes.RTLD_GLOBAL)
    place = {"library": Host, "python": Gpu}[form](release)
    for spec in SPECS:
        for half in (False, True):
            arrays = [*random_heads(spec, np.float16 if half else np.float32, BATCH), default_boxes(spec)]
            plans = decode_launches(spec, BATCH, half)
            for (operator, attributes), plan in zip(node_attributes(spec).items(), plans, strict=True):
                wanted = REFERENCE[operator](*arrays, **attributes)
                node = Node(library, operator, attributes, arrays)
                place.run(node, arrays, node.outputs, plan)
                arrays = node.outputs
                for actual, want in zip(arrays, wanted, strict=True):
                    assert (actual.shape, actual.dtype) == (want.shape, want.dtype), operator
                    np.testing.assert_array_equal(actual.view(np.int32), want.view(np.int32), operator)
                node.close()
    for most in (0, 1025):
        with pytest.raises(AssertionError, match="createPlugin"):
            Node(library, "SsdMerge", {"max_detections": most}, [])
    place.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
