"""``tensorrt_rtx`` of a recorded machine, see ``rehearsal.imitation``."""

import sys
from pathlib import Path

if (folder := str(Path(__file__).resolve().parents[2])) not in sys.path:
    sys.path.append(folder)

from rehearsal.imitation import tensorrt_rtx

sys.modules["tensorrt_rtx"] = tensorrt_rtx(Path(__file__).resolve().parent)
