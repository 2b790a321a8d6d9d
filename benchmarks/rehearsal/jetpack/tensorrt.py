"""JetPack's ``tensorrt`` of a recorded machine: the bindings' classes, over a builder and runtime that are imitated.

Its folder is on the path of environments that see the system's packages. See ``rehearsal.imitation``.
"""

import sys
from pathlib import Path

if (folder := str(Path(__file__).resolve().parents[2])) not in sys.path:
    sys.path.append(folder)

from rehearsal.imitation import tensorrt

sys.modules["tensorrt"] = tensorrt()
