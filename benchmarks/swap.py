"""Candidates with planted faults, and good ones, tried one after another on a running service over rendered conveyors.

Most faults are fakes around a sound engine, in the candidate's process: see ``swap_candidate.py``. Real ones are an
engine of other classes, one of other weights, a damaged file, and one without a proof.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from figure import Figure

from ssd_edge.data.synthetic import Conveyor
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.proof.prove import keep_proof
from ssd_edge.graph.heads import write_heads
from ssd_edge.machine.summary import summary
from ssd_edge.service.control import ask
from ssd_edge.service.log import Log
from ssd_edge.service.reading import read_service
from ssd_edge.service.running import Service
from ssd_edge.swap.remote import PROGRAM

LATE = 500
CONTRACT = {"share": 0.3, "frames": 120, "seconds": "2s", "probation_frames": 1000, "probation_seconds": "5s"}
CAMERAS = 2

Trials = dict[str, tuple[Path, tuple[str, ...]]]
"""By name: the bundle that is tried, and the program of its process."""


class _Quiet(Log):
    def line(self, message: str, event: str, level: str = "info", camera: str | None = None) -> None:
        print(message, file=sys.stderr, flush=True)


def measure() -> Figure:
    """Try them all, in one run of one service."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        first, bad, good = _bundles(folder)
        verdicts, reasons, frames = _tried(folder, first, {**bad, **good})
    lost = sum(reasons.values())
    wrong_in = [name for name in bad if verdicts[name][0] not in ("refused", "went back")]
    good_out = [name for name in good if verdicts[name][0] != "kept"]
    stopped = len(bad) - len(wrong_in)
    return Figure(
        "swap",
        stopped,
        f"of {len(bad)} bad candidates that were refused or rolled back",
        "all; each good one in; zero frames lost",
        not wrong_in and not good_out and not lost,
        {
            "verdicts": verdicts,
            "let in though bad": wrong_in,
            "good but out": good_out,
            "lost": reasons,
            "machine": summary(),
        },
        f"{len(good) - len(good_out)} of {len(good)} good ones in; {lost} of {frames} frames lost",
    )


def _bundles(folder: Path) -> tuple[Path, Trials, Trials]:
    """Build the engine that works first, and name what is tried."""
    from swap_candidate import FAULTS, GOOD

    sound = _built(folder, "sound")
    planted = (sys.executable, str(Path(__file__).with_name("swap_candidate.py")))

    def fakes(kinds: Iterator[str]) -> Trials:
        return {kind: (sound, (*planted, kind, str(LATE))) for kind in kinds}

    bad = fakes(iter([*FAULTS, "saturates", "crashes while it loads"]))
    damaged = shutil.copytree(sound, folder / "damaged.engine")
    (damaged / "heads.bin").write_bytes((damaged / "heads.bin").read_bytes()[:-100])
    bad["a damaged file"] = damaged, PROGRAM
    bad["other classes"] = _built(folder, "classes", labels=("nut", "bolt")), PROGRAM
    bad["other weights"] = _built(folder, "weights", seed=1), PROGRAM
    bad["no proof"] = _built(folder, "unproven", proven=False), PROGRAM
    good = {**fakes(iter(GOOD)), "a bundle that was built again": (_built(folder, "again"), PROGRAM)}
    return sound, bad, good


def _built(folder: Path, name: str, seed: int = 0, proven: bool = True, **changes: Any) -> Path:
    from tests.helpers import small_spec
    from tests.models_for_tests import tiny_model

    onnx, bundle, spec = folder / f"{name}.onnx", folder / f"{name}.engine", small_spec(**changes)
    write_heads(tiny_model(spec, seed), spec, onnx)
    if proven:
        conveyor = Conveyor(1, (96, 72))
        keep_proof(onnx, [conveyor.frame(20 * k)[0] for k in range(16)])
    build_bundle(onnx, bundle, "openvino")
    return bundle


def _tried(folder: Path, first: Path, trials: Trials) -> tuple[dict[str, tuple[str, str]], Counter[str], int]:
    """Return by name how each trial ended and why; frames lost, by reason or gaps of the JSON; its frames."""
    camera = {"size": "96x72", "fps": 40, "buffer": "drop-oldest:1000", "min_score": 0.35}
    file = folder / "service.yaml"
    described = {f"c{k}": {"source": f"synthetic:{k}", **camera} for k in range(CAMERAS)}
    file.write_text(
        json.dumps(
            {
                "model": str(first),
                "swap": CONTRACT,
                "cameras": described,
                "outputs": {"json": str(folder / "{camera}.jsonl")},
            }
        )
    )
    verdicts: dict[str, tuple[str, str]] = {}
    service = Service(read_service(file), _Quiet())
    failed: list[BaseException] = []

    def script() -> None:
        try:
            for name, (bundle, program) in trials.items():
                service.candidates_program = program
                *_, last = ask(file, {"swap": str(bundle)})
                verdicts[name] = last["event"], last["text"]
                print(f"--- {name}: {last['event']}", file=sys.stderr, flush=True)
        except BaseException as error:
            failed.append(error)
        finally:
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=script)
    begun = threading.Event()

    def begin(report: object) -> None:
        if not begun.is_set():
            begun.set()
            thread.start()

    report = service.run(on_report=begin)
    thread.join()
    if failed:
        raise failed[0]
    lost, frames = Counter[str](), 0
    for name in described:
        indices = [
            json.loads(line)["index"]
            for path in sorted(folder.glob(f"{name}*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        lost["gaps"] += sum(abs(after - before - 1) for before, after in pairwise(indices))
        lost.update({why: count for why, count in report.cameras[name].ledger.items() if why != "left"})
        frames += len(indices)
    return verdicts, lost, frames


if __name__ == "__main__":
    print(json.dumps(measure().__dict__, indent=2))
