"""Drive a headless Chromium by its DevTools protocol over a pipe: no driver and no package is needed."""

from __future__ import annotations

import base64
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

PATIENCE = 60.0  # seconds; only a failure takes so long


def found() -> str | None:
    """Return the system's Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


class Chromium(AbstractContextManager["Chromium"]):
    """A browser with one page."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True)
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        command = [
            found() or "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-extensions", "--disable-background-networking", "--hide-scrollbars",
            "--mute-audio", f"--user-data-dir={self._folder.name}", "--remote-debugging-pipe", "about:blank",
        ]  # fmt: skip
        # Chromium reads commands from descriptor 3 and writes answers to 4; higher ones first, so that none is lost.
        high_in, high_out = os.dup(to_browser), os.dup(from_browser)
        shell = f'exec "$@" 3<&{high_in} 4>&{high_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *command],
            pass_fds=(high_in, high_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for descriptor in (to_browser, from_browser, high_in, high_out):
            os.close(descriptor)
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.errors: list[str] = []
        self._number, self._session = 0, ""
        self._thread = threading.Thread(target=self._listen, name="chromium", daemon=True)
        self._thread.start()
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def _listen(self) -> None:
        buffer = b""
        while chunk := os.read(self._read, 1 << 16):
            *messages, buffer = (buffer + chunk).split(b"\0")
            for text in messages:
                message = json.loads(text)
                if "id" in message:
                    self._answers.put(message)
                elif message["method"] == "Runtime.exceptionThrown":
                    self.errors.append(json.dumps(message["params"]["exceptionDetails"]))
                elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                    self.errors.append(message["params"]["entry"]["text"])

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._answers.get(timeout=PATIENCE))["id"] != self._number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str) -> None:
        """Go to a page."""
        self.send("Page.navigate", url=address)

    def run(self, code: str) -> Any:
        """Run JavaScript, and return its value."""
        answer = self.send("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:500])
        return answer["result"].get("value")

    def wait(self, code: str, holds: Callable[[Any], bool] = bool, seconds: float = PATIENCE) -> Any:
        """Wait until JavaScript gives a value that is as wanted, and return it."""
        until = monotonic() + seconds
        while True:
            try:
                value = self.run(code)
            except RuntimeError as error:  # the page is being replaced
                value = str(error)
            else:
                if holds(value):
                    return value
            if monotonic() > until:
                raise AssertionError(f"{code} is {value!r} after {seconds:.0f} s; errors of the page: {self.errors}")
            sleep(0.02)

    def size(self, width: int, height: int, scale: float = 1.0, is_phone: bool = False) -> None:
        """Give the window another size."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=is_phone,
        )  # fmt: skip
        self.send("Emulation.setTouchEmulationEnabled", enabled=is_phone)

    def scheme(self, name: str) -> None:
        """Prefer ``dark`` or ``light``."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def place(self, selector: str) -> tuple[float, float, float, float]:
        """Return left, top, width and height of an element, which is scrolled into view."""
        code = (
            f"(e => {{ e.scrollIntoView({{block: 'nearest'}}); const b = e.getBoundingClientRect();"
            f" return [b.left, b.top, b.width, b.height]; }})(document.querySelector({json.dumps(selector)}))"
        )
        left, top, width, height = self.run(code)
        return left, top, width, height

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Press, move or release the mouse; ``kind`` as in DevTools: ``mousePressed``, …"""
        pressed = kind != "mouseReleased"
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=int(pressed), clickCount=1)

    def click(self, selector: str) -> None:
        """Click into the middle of an element."""
        left, top, width, height = self.place(selector)
        self.click_at(left + width / 2, top + height / 2)

    def click_at(self, x: float, y: float) -> None:
        """Click at a point of the window."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag with the mouse from one point of an element to another, in fractions of it."""
        left, top, width, height = self.place(selector)
        points = [(left + x * width, top + y * height) for x, y in (start, end)]
        self.mouse("mousePressed", *points[0])
        for share in (0.3, 0.7, 1.0):
            x, y = (a + share * (b - a) for a, b in zip(*points, strict=True))
            self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, buttons=1)
        self.mouse("mouseReleased", *points[1])

    def key(self, name: str, text: str = "") -> None:
        """Press a key and let it go."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowRight": 39, "ArrowLeft": 37, "Delete": 46, " ": 32}
        text = text or {"Enter": "\r", " ": " "}.get(name, "")
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=name, code=name, text=text if kind == "keyDown" else "",
                windowsVirtualKeyCode=codes.get(name, 0),
            )  # fmt: skip

    def picture(self, path: Path) -> None:
        """Save what the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End the browser."""
        self._session = ""
        try:
            self.send("Browser.close")
        except (OSError, queue.Empty, RuntimeError):
            self._process.kill()
        self._process.wait(PATIENCE)
        os.close(self._write)
        self._thread.join(PATIENCE)
        os.close(self._read)
        self._folder.cleanup()

    def __exit__(self, *exception: object) -> None:
        self.close()
