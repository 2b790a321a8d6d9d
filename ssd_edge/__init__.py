"""ssd-edge: train an SSD, calibrate it to INT8, build engines, run them on a camera."""

import os
import sys

__version__ = "0.1.0"

# By default, OpenVINO and ONNX Runtime send telemetry when imported, and leave files in the user's home folder.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
