"""The distance of quantised heads from FP32 heads on images.

It needs no labels, is quick, and tells more than AP on few images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx

from ssd_edge import arithmetic
from ssd_edge.calibration.scales.observe import session
from ssd_edge.spec import ModelSpec

Floats = npt.NDArray[np.float32]

SEEN = 0.02
"""A default box counts if either network gives it a score above this: boxes far below never become detections."""


class Reference:
    """The outputs of FP32 heads on some images, to compare quantised heads with.

    Args:
        model: FP32 heads.

    Attributes:
        spec: the heads' ModelSpec.
        images: (1, 3, H, W) float32 each, preprocessed.
    """

    def __init__(self, model: onnx.ModelProto, spec: ModelSpec, images: Sequence[Floats]) -> None:
        self.spec = spec
        self.images = images
        self._wanted = self._detections(model)

    def divergence(self, model: onnx.ModelProto) -> float:
        """Return the mean difference of scores and positions over the default boxes that count, see ``SEEN``.

        Differences of scores are added unchanged, those of positions in units of the default box, by the spec's
        variances. The absolute differences are averaged, not their squares: otherwise a few boxes with arbitrary
        positions would decide the result. It is 0 if no box counts.
        """
        total, count = 0.0, 0
        for (loc, scores), (wanted_loc, wanted_scores) in zip(self._detections(model), self._wanted, strict=True):
            seen = np.maximum(scores, wanted_scores).max(axis=1) > SEEN
            total += float(np.abs(scores - wanted_scores)[seen].sum(dtype=np.float64))
            total += float(np.abs(loc - wanted_loc)[seen].sum(dtype=np.float64))
            count += int(seen.sum())
        return total / count if count else 0.0

    def _detections(self, model: onnx.ModelProto) -> list[tuple[Floats, Floats]]:
        """Compute positions (A, 4) in units of default boxes, and scores (A, C − 1), for each image."""
        runtime = session(model.SerializeToString())
        (entry,) = runtime.get_inputs()
        centre, size = self.spec.variances
        scale = np.asarray([centre, centre, size, size], np.float32)
        softmax = self.spec.score_function == "softmax"
        outputs = []
        for image in self.images:
            loc, logits = (part[0] for part in runtime.run(["loc", "logits"], {entry.name: image}))
            scores = arithmetic.softmax(logits)[:, 1:] if softmax else arithmetic.sigmoid(logits[:, 1:])
            outputs.append((loc * scale, scores))
        return outputs
