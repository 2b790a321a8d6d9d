from __future__ import annotations

import io
import json
from datetime import datetime, timedelta, timezone

from ssd_edge.service.log import JsonLog, TextLog


def test_a_line_of_json():
    file = io.StringIO()
    JsonLog(file).note("source", "warning", "line3")("stalled\nby \udcff")
    (text,) = file.getvalue().splitlines()
    line = json.loads(text)
    assert timedelta(0) <= datetime.now(timezone.utc) - datetime.fromisoformat(line.pop("time").replace("Z", "+00:00"))
    assert line == {"level": "warning", "event": "source", "camera": "line3", "message": "stalled\nby \udcff"}
    assert text.isascii()


def test_without_a_camera_none_is_named():
    file = io.StringIO()
    JsonLog(file).line("started", "service")
    assert "camera" not in json.loads(file.getvalue())


def test_a_reader_that_went_away_ends_nothing():
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    JsonLog(Gone()).line("started", "service")


def test_lines_for_people():
    said = []
    log = TextLog(lambda text, style: said.append((text, style)))
    log.line("started", "service")
    log.line("frames come again", "source", "warning", "line3")
    log.line("line3: stalled", "source", "warning", "line3")
    assert said == [("started", ""), ("line3: frames come again", "yellow"), ("line3: stalled", "yellow")]
