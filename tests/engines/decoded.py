"""The three decode kernels in NumPy, as a stand-in for a network that carries its decode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ssd_edge.engines.kernels.launch import result_buffers
from tests.decode_nodes import in_numpy
from tests.helpers import small_spec


def decoded(
    loc: np.ndarray, logits: np.ndarray, defaults: np.ndarray, attributes: Mapping[str, Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Decode heads to the five results, by name; ``attributes`` are those of the nodes, by operator."""
    with np.errstate(all="ignore"):  # a network warms up on whatever memory holds
        boxes, scores = in_numpy.decode(loc, logits, defaults, **attributes["SsdDecode"])
        kept = in_numpy.select(boxes, scores, **attributes["SsdSelect"])
        results = in_numpy.merge(*kept, **attributes["SsdMerge"])
    return dict(zip(result_buffers(small_spec(), 1), results, strict=True))
