"""Make the pictures of the page in docs/images: python -m tests.web.make_pictures."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from PIL import Image

from ssd_edge.loop.camera import Camera
from ssd_edge.loop.run import CameraLoop
from ssd_edge.web.address import parse_address
from ssd_edge.web.page import open_page
from ssd_edge.web.store import WatchStore
from ssd_edge.web.tuning import Tuning
from tests.helpers import ROOT
from tests.web.chromium import Chromium
from tests.web.known import KnownCamera, KnownDetector

WATCH = """\
zones:
  - name: press
    points: [[0.42, 0.16], [0.7, 0.16], [0.76, 0.88], [0.36, 0.88]]
    min_time: 1.0
lines:
  - name: gate
    points: [[0.2, 0.12], [0.2, 0.92]]
    anchor: centre
"""


def main() -> None:
    """Show a known conveyor, and save what the browser shows. Its heat and power are made up."""
    detector = KnownDetector()
    with TemporaryDirectory() as folder, CameraLoop(detector) as loop:
        watch = Path(folder, "watch.yaml")
        watch.write_text(WATCH)
        with open_page(parse_address("0"), detector.spec.labels) as page:
            for seed, name in enumerate(("belt", "dock", "gate")):
                tuning = Tuning(detector.spec, None, None if seed else WatchStore(watch))
                source = KnownCamera(seed, fps=10)
                view = page.view(name, source, tuning)
                loop.add(Camera(name, source, [view], view.shown))
            page.measure(
                lambda: loop.report().cameras,
                lambda: {"celsius": 56 + 3 * math.sin(monotonic() / 9), "watts": 11 + math.sin(monotonic() / 4)},
            )
            thread = threading.Thread(target=loop.run)
            thread.start()
            sleep(100)
            with Chromium() as browser:
                for name, scheme, size, where, is_phone in (
                    ("page-dark", "dark", (1280, 860), "#camera=belt", False),
                    ("page-light", "light", (1280, 860), "#camera=belt", False),
                    ("page-phone", "dark", (360, 740), "#camera=belt", True),
                    ("page-grid", "dark", (1280, 460), "", False),
                ):
                    browser.scheme(scheme)
                    browser.size(*size, is_phone=is_phone, scale=1.5 if is_phone else 1)
                    browser.open("about:blank")
                    browser.open(f"http://{page.address}/{where}")
                    browser.wait("document.querySelector('.picture')?.dataset.frame > 0")
                    sleep(4)
                    path = ROOT / "docs" / "images" / f"{name}.png"
                    browser.picture(path)
                    with Image.open(path) as picture:
                        small = picture.convert("RGB").quantize(192)
                    small.save(path, optimize=True)
            loop.stop()
            thread.join()


if __name__ == "__main__":
    main()
