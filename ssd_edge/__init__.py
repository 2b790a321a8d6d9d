"""ssd-edge: train an SSD, calibrate it to INT8, build engines, run them on a camera."""

import os
import sys

__version__ = "0.1.0"

# Imported without this, OpenVINO and ONNX Runtime report to their makers, unasked, and leave files in the user's home.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
