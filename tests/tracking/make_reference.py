"""Make reference.npz: a scene, and what public programs make of it.

python -m tests.tracking.make_reference PYTHON CHECKOUT

PYTHON is that of an environment with what benchmarks/tracking_peers.py lists, and trackeval 1.3.0; CHECKOUT is one of
github.com/ifzhang/ByteTrack. The file has all detections (``frame``, ``boxes``, ``scores``), the objects
(``truth_*``), the tracks of each program (``authors_*``, ``trackers_*``), and trackeval's counts for the latter
(``counts``: IDTP, objects + tracked, boxes found, switches, IDF1, MOTA).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

FRAMES = 120
REFERENCE = Path(__file__).with_name("reference.npz")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

TRACKEVAL = """
import sys, numpy as np
from tracking_peers import overlaps
from trackeval.metrics import CLEAR, Identity
NAMES = ("frame", "names", "boxes")
given, tracks = np.load(sys.argv[1]), np.load(sys.argv[2])
sides = [[given[f"truth_{name}"] for name in NAMES], [tracks[name] for name in NAMES]]
names = [np.unique(side[1], return_inverse=True) for side in sides]
data = {"num_timesteps": int(given["frames"]), "gt_ids": [], "tracker_ids": [], "similarity_scores": []}
data |= {"num_gt_ids": len(names[0][0]), "num_tracker_ids": len(names[1][0])}
data |= {"num_gt_dets": len(sides[0][1]), "num_tracker_dets": len(sides[1][1])}
for frame in range(data["num_timesteps"]):
    here = [side[0] == frame for side in sides]
    data["gt_ids"].append(names[0][1][here[0]])
    data["tracker_ids"].append(names[1][1][here[1]])
    data["similarity_scores"].append(overlaps(sides[0][2][here[0]], sides[1][2][here[1]]))
one, two = Identity({"PRINT_CONFIG": False}).eval_sequence(data), CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
print(one["IDTP"], data["num_gt_dets"] + data["num_tracker_dets"], two["CLR_TP"], two["IDSW"], one["IDF1"], two["MOTA"])
"""


def main(python: str, checkout: str) -> None:
    """Write the file."""
    sys.path.insert(0, str(BENCHMARKS))
    from tracking import stored
    from tracking_scene import scene

    made = scene(7, FRAMES, density=14.0)
    stored(made, REFERENCE)
    with np.load(REFERENCE) as file:
        arrays = dict(file)
    arrays["truth_frame"] = np.concatenate([np.full(len(one.names), index) for index, one in enumerate(made.truth)])
    arrays["truth_names"] = np.concatenate([one.names for one in made.truth])
    arrays["truth_boxes"] = np.concatenate([one.boxes for one in made.truth])
    np.savez_compressed(REFERENCE, **arrays)
    for tool in ("authors", "trackers"):
        tracks = REFERENCE.with_name("tracks.npz")
        command = [python, str(BENCHMARKS / "tracking_peers.py"), tool, str(REFERENCE), str(tracks), checkout]
        subprocess.run(command, check=True)
        with np.load(tracks) as file:
            arrays |= {f"{tool}_{name}": file[name] for name in file}
        if tool == "trackers":
            command = [str(Path(python).absolute()), "-c", TRACKEVAL, str(REFERENCE), str(tracks)]
            counted = subprocess.run(command, check=True, capture_output=True, text=True, cwd=BENCHMARKS)
            arrays["counts"] = np.array(counted.stdout.splitlines()[-1].split(), np.float64)
        tracks.unlink()
    np.savez_compressed(REFERENCE, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
