"""Selftest section: check the heads' own proof with each backend that runs here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from ssd_edge.engines.proof.prove import CLEAR_ABOUT_NOTHING, prove
from ssd_edge.engines.selftest import available
from ssd_edge.engines.selftest.sections import FailedError, NotRunError, Setting
from ssd_edge.errors import SsdEdgeError
from ssd_edge.graph.heads import read_proof
from ssd_edge.proof import Proof

BACKENDS = ("tensorrt", "tensorrt-rtx", "openvino", "onnxruntime")


def proof(setting: Setting) -> tuple[str, Mapping[str, Any]]:
    """Build an engine with each backend and check it against the heads' proof, as ``ssd-edge verify`` does."""
    heads, spec = setting.model()
    left_out = {backend: why for backend in BACKENDS if (why := available.why_not(backend)) is not None}
    proofs = {}
    for precision, onnx in (("FP32", heads), ("INT8", setting.int8)):
        packed = read_proof(onnx) if onnx is not None else None
        if packed and (unpacked := Proof.unpack(packed, spec)).counted:
            proofs[precision] = onnx, unpacked
    if not proofs:
        raise NotRunError(f"the heads carry no proof, or {CLEAR_ABOUT_NOTHING}")
    details: dict[str, Any] = {}
    wrong = []
    for backend in (name for name in BACKENDS if name not in left_out):
        for precision, (onnx, unpacked) in proofs.items():
            assert onnx is not None
            name = f"{backend} of {precision} heads"
            try:
                with closing(setting.engine(f"proof-{backend}-{precision}", onnx, backend, None)) as engine:
                    details[name] = prove(engine, unpacked, onnx).to_json()
            except SsdEdgeError as error:
                wrong.append(str(error))
                details[name] = {"failed": str(error)}
    if wrong:
        raise FailedError("; ".join(wrong), details)
    results = ", ".join(f"{name} {one['matched']} of {one['counted']}" for name, one in details.items())
    missing = f"; not run: {', '.join(left_out)}" if left_out else ""
    return f"engines agree with the model's proof ({results}){missing}", {**details, "not run": left_out}
