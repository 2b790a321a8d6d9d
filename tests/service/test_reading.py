"""A service's file: what it says, and one sentence for each mistake."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ssd_edge.errors import SsdEdgeError
from ssd_edge.service.config import CameraConfig, DiskConfig, OutputConfig, PageConfig
from ssd_edge.service.reading import read_service, variables_of
from ssd_edge.service.service_file import EXAMPLE, ServiceForm, json_schema
from ssd_edge.service.web import Address
from ssd_edge.stream.camera_mode import CameraMode
from ssd_edge.swap.contract import Contract

SECRET = {"LINE3_PASSWORD": "p@ss/w:#{x}${HOME}"}
OUTPUT = 'json: "{camera}.jsonl"'
SMALL = "model: m.engine\ncameras:\n  a: {source: synthetic}\n"


@pytest.fixture
def read(tmp_path):
    def read(text, environment=SECRET):
        path = tmp_path / "service.yaml"
        path.write_text(text, "utf-8")
        return read_service(path, environment)

    return read


def test_the_example(read, tmp_path):
    config = read(EXAMPLE)
    assert (config.model, config.metrics, config.log) == (tmp_path / "parts.engine", Address("127.0.0.1", 9090), "text")
    assert config.disk == DiskConfig(20 * 10**9, 2 * 10**9)
    line3, belt, trial = config.cameras
    assert line3.source == f"rtsp://viewer:{SECRET['LINE3_PASSWORD']}@camera3/stream"
    assert (line3.max_age, line3.watch["zones"][0]["name"]) == (0.5, "press")
    assert line3.outputs == (OutputConfig("json", str(tmp_path / "line3.jsonl")),)
    collect = {"against": None, "frames": 500, "size": 10**9, "share": 5.0, "quiet": 600.0, "gap": 2.0}
    assert belt == CameraConfig(
        "belt",
        "/dev/video0",
        CameraMode((1280, 720), 30.0, "mjpg"),
        min_score=0.6,
        outputs=(
            OutputConfig("video", str(tmp_path / "belt.mp4"), {"rotate_size": None, "rotate_every": 600.0}),
            OutputConfig("collect", str(tmp_path / "hard-belt"), collect),
            OutputConfig("json", str(tmp_path / "belt.jsonl")),
        ),
    )
    assert trial.outputs == ()


def test_the_smallest_file(read, tmp_path):
    config = read(SMALL)
    assert config.cameras == (CameraConfig("a", "synthetic"),)
    assert (config.metrics, config.log, config.unhealthy_after) == (None, "text", 10.0)
    assert config.contract == Contract()


def test_a_secret_is_never_shown(read):
    assert "p@ss" not in repr(read(EXAMPLE))


def test_variables_are_listed(read, tmp_path):
    read(EXAMPLE)
    assert variables_of(tmp_path / "service.yaml") == ["LINE3_PASSWORD"]


def test_a_dollar_can_be_written(read):
    (camera,) = read(SMALL.replace("synthetic", "'rtsp://a:$${LINE3_PASSWORD}$x@h/'")).cameras
    assert camera.source == "rtsp://a:${LINE3_PASSWORD}$x@h/"


def test_a_variable_brings_no_settings_of_its_own(read):
    with pytest.raises(SsdEdgeError, match=r"line 3: cameras\.a is of the wrong type: Expected settings by name"):
        read(SMALL.replace("{source: synthetic}", "${A}"), {"A": "{source: synthetic}"})


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("8080", PageConfig(Address("127.0.0.1", 8080))),
        ("'[::1]:8000'", PageConfig(Address("::1", 8000))),
        ("{}", PageConfig(Address("127.0.0.1", 8080))),
        ("{address: 0.0.0.0:80, token: '${LINE3_PASSWORD}'}", PageConfig(Address("0.0.0.0", 80), "p@ss/w:#{x}${HOME}")),
        ("{address: 0.0.0.0:80, token_file: t}", PageConfig(Address("0.0.0.0", 80), None, Path("t"))),
    ],
)
def test_the_page(read, tmp_path, page, expected):
    got = read(f"{SMALL}page: {page}\n").page
    if expected.token_file is not None:
        expected = replace(expected, token_file=tmp_path / expected.token_file)
    assert got == expected
    assert "p@ss" not in repr(got)


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("somewhere:80", "the address of the page is a port or IP:PORT"),
        ("70000", "the address of the page is a port or IP:PORT"),
        ("0.0.0.0:80", "0.0.0.0:80 can be reached from other machines, so the page needs a token: token: ${NAME}, a"),
        ("{token: '${LINE3_PASSWORD}', token_file: t}", "page has token and token_file: give one of them"),
        ("9090", "page and metrics are both served on 127.0.0.1:9090: give one another port"),
        ("{adress: 80}", "there is no setting 'adress'; did you mean address?"),
        ("{token: '${NO}'}", "the environment has no variable NO: set it before the start"),
        ("[80]", "page is of the wrong type: Expected "),
    ],
)
def test_a_page_that_cannot_be(read, page, sentence):
    with pytest.raises(SsdEdgeError) as error:
        read(f"{SMALL}metrics: 9090\npage: {page}\n")
    assert f"service.yaml, line 5: {sentence}" in str(error.value)
    assert "p@ss" not in str(error.value)


@pytest.mark.parametrize(
    ("watch", "file", "as_written"),
    [
        ("null", None, True),
        ("watch.yaml", "watch.yaml", True),
        ("{margin: 0.03}", None, True),
        ("{zones: [{name: '${LINE3_PASSWORD}', points: [[0, 0], [1, 0], [1, 1]]}]}", None, False),
        ("{zones: [{name: '$${A}', points: [[0, 0], [1, 0], [1, 1]]}]}", None, False),
    ],
)
def test_where_zones_of_the_page_are_kept(read, tmp_path, watch, file, as_written):
    (tmp_path / "watch.yaml").write_text("margin: 0.02\n")
    (camera,) = read(SMALL.replace("synthetic", f"synthetic, watch: {watch}")).cameras
    assert camera.watch_file == (None if file is None else tmp_path / file)
    assert camera.watch_as_written == as_written


RECORD = "outputs: {record: {to: rec, rotate_size: 1GB, rotate_every: 10m}}\n"


def test_cameras_may_record_into_one_folder(read, tmp_path):
    config = read(f"{SMALL}  b: {{source: 'synthetic:1'}}\n{RECORD}")
    wanted = OutputConfig("record", str(tmp_path / "rec"), {"rotate_size": 10**9, "rotate_every": 600.0})
    assert [camera.record for camera in config.cameras] == [wanted, wanted]
    assert config.records
    assert not read(SMALL).records


@pytest.mark.parametrize("setting", ["degrade: engine", "watch_models: true"])
def test_what_is_recorded_is_of_one_engine(read, setting):
    with pytest.raises(SsdEdgeError, match=f"line 4: record keeps the run of one engine, which {setting} may exchange"):
        read(f"{SMALL}{RECORD}{setting}\n")


def test_what_lies_beside_the_file_is_found(read, tmp_path):
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "watch.yaml").write_text("margin: 0.02\n")
    (camera,) = read(SMALL.replace("synthetic}", "clip.mp4, watch: watch.yaml}")).cameras
    assert (camera.source, camera.watch) == (str(tmp_path / "clip.mp4"), {"margin": 0.02})


def test_equal_text_gives_an_equal_camera(read):
    assert read(EXAMPLE).cameras == read(EXAMPLE).cameras


def test_a_camera_may_refuse_an_output_of_all(read):
    text = f"{SMALL.replace('}', ', outputs: {json: }}')}outputs: {{json: x.jsonl}}\n"
    assert read(text).cameras[0].outputs == ()


def test_editors_get_the_same_form():
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert set(schema["$defs"]["ServiceForm"]["properties"]) == set(ServiceForm.__struct_fields__)
    msgspec.json.schema(ServiceForm)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("fps: 30", "fsp: 30", "there is no setting 'fsp'; did you mean fps?"),
        ("outputs:  ", "output:  ", "there is no setting 'output'; did you mean outputs?"),
        ("min_time", "mintime", "there is no setting 'mintime'; did you mean min_time?"),
        ("log: text", "log: txt", "log must be one of json, text: Invalid enum value 'txt'"),
        ("${LINE3_PASSWORD}", "${LINE_3}", "the environment has no variable LINE_3: set it before the start"),
        ("0.4, 0.1]", "0.4, 1.1]", "the zone 'press' has the point [0.4, 1.1] outside the frame"),
        ("  trial:", "  belt:", "'cameras.belt' was given before, in line "),
        ("source: synthetic", "source: 0", "the cameras belt and trial have one source"),
        ('"{camera}.jsonl"', "x.jsonl", "line3 and belt would both write "),
        (OUTPUT, "vido: belt.mp4", "there is no setting 'vido'; did you mean video?"),
        (OUTPUT, "window: x", "there is no setting 'window'; there are "),
        (OUTPUT, "video: {}", "outputs.video needs to"),
        (OUTPUT, "video: {to: a.mp4, rotate: 3}", "there is no setting 'rotate'; did you mean rotate_"),
        (OUTPUT, "mqtt: {to: 'mqtt://h', rat: 3}", "there is no setting 'rat'; did you mean rate?"),
        (OUTPUT, "video: [3]", "outputs.video is of the wrong type: Expected "),
        (OUTPUT, "mqtt: 'ftp://h'", "'ftp://h' is not an address of the form mqtt://"),
        (OUTPUT, "rtsp: 99999", ""),
        ("1280x720", "1280", "cameras.belt.size is of the wrong type: Expected str | null, got int"),
        ("1280x720", "'1280'", "a size must be WIDTHxHEIGHT in pixels, such as 1280x720, but got '1280'"),
        ("mjpg", "h264", "a camera's format must be one of "),
        ("fps: 30", "fps: .nan", "cameras.belt.fps must lie between 0.1 and 1000, but is nan"),
        ("500ms", "5x", "a duration is a number above 0 with ms"),
        ("unhealthy_after: 10s", "unhealthy_after: 0s", "a duration is a number above 0 with ms"),
        ("127.0.0.1:9090", "somewhere:9090", "the address of the metrics is a port or IP:PORT"),
        ("degrade: skip", "degrade: slow", "degrade must be one of engine, off, skip"),
        ("degrade: skip", "fallback: small.engine", "fallback is the engine of degrade: engine; give both, or neither"),
        ("0.6", "1.6", "cameras.belt.min_score must lie between 0 and 1, but is 1.6"),
        ("belt:", "a/b:", "a camera's name has up to 64 letters, digits, blanks, _, . and -, but got 'a/b'"),
        ("model: parts.engine", "", "the file needs model"),
    ],
)
def test_each_mistake_is_one_sentence(read, old, new, sentence):
    text = EXAMPLE.replace(old, new, 1)
    with pytest.raises(SsdEdgeError) as error:
        read(text)
    line = text[: text.rindex(new)].count("\n") + 1
    where = f", line {line}: " if new else ": "
    assert f"service.yaml{where}{sentence}" in str(error.value)
    assert "p@ss" not in str(error.value)


@pytest.mark.parametrize("text", ["", "a", "- a", "3"])
def test_what_holds_no_settings(read, text, tmp_path):
    with pytest.raises(SsdEdgeError, match="must hold settings, one KEY: VALUE a line"):
        read(text)


def test_what_is_no_yaml(read):
    with pytest.raises(SsdEdgeError, match="the service file is no YAML"):
        read("model: [")


def test_two_cameras_may_not_write_one_file(read):
    both = (
        SMALL.replace("}", ", outputs: {json: x.jsonl}}") + "  b: {source: 'synthetic:1', outputs: {clips: x.jsonl}}\n"
    )
    with pytest.raises(
        SsdEdgeError, match=r"line 4: a and b would both write .*x\.jsonl: put \{camera\} into its name"
    ):
        read(both)


def test_a_webhook_that_would_never_be_called(read):
    silent = f"{SMALL}outputs: {{webhook: 'http://h/'}}\n"
    with pytest.raises(SsdEdgeError, match=r"line 3: cameras\.a: a webhook is told events of zones and lines, which"):
        read(silent)
    assert read(silent.replace("'http://h/'", "{to: 'http://h/', rate: 1}")).cameras[0].outputs[0].settings["rate"] == 1


def test_no_camera(read):
    with pytest.raises(SsdEdgeError, match="line 2: cameras: name at least one"):
        read("model: m.engine\ncameras: {}\n")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SsdEdgeError, match=r"cannot read the service file .*No such file"):
        read_service(Path(tmp_path / "no.yaml"))


@pytest.mark.parametrize("source", ["synthetic:0", "/dev/video7", "07"])
def test_one_source_in_other_words(read, source):
    first = "synthetic" if source.startswith("synthetic") else "7"
    with pytest.raises(SsdEdgeError, match="the cameras a and b have one source"):
        read(f"model: m\ncameras:\n  a: {{source: {first}}}\n  b: {{source: '{source}'}}\n")
