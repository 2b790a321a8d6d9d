"""MQTT with a real broker, which refuses, dies and returns; and Home Assistant's discovery."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic, time

import jinja2
import pytest

from ssd_edge.errors import SinkError
from ssd_edge.outputs import mqtt as mqtt_module
from ssd_edge.outputs import mqtt_connection
from ssd_edge.outputs.catalogue import open_sink
from ssd_edge.outputs.home_assistant import MOST_CLASSES, Discovery
from ssd_edge.outputs.isolated import Isolated
from ssd_edge.outputs.mqtt import Mqtt, MqttSettings
from ssd_edge.outputs.mqtt_connection import MqttConnection
from ssd_edge.outputs.mqtt_topics import Topics, identifier, level
from ssd_edge.tracking.events import Event
from tests.helpers import ROOT
from tests.outputs.broker import Broker, Listener, certificates, free_port, needs_broker, running, wait_for
from tests.outputs.seen import EMPTY, LABELS, LINE, ZONE, detections, frame, watched

ENTERED = {**EMPTY, "press": {**EMPTY["press"], "inside": {"bolt": 1}, "entered": {"bolt": 1}}}
CLIENT = """
import sys
sys.path.insert(0, sys.argv[2])
from ssd_edge.outputs.mqtt import Mqtt, MqttSettings
from tests.outputs.seen import frame, detections
sink = Mqtt(MqttSettings(sys.argv[1], "line3"), ["bolt"], "cam")
sink.write(frame(), detections(0))
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def opened(broker: Broker, request: pytest.FixtureRequest) -> Iterator[Callable[..., Mqtt]]:
    """Open outputs under a prefix of the test's own."""
    with ExitStack() as stack:

        def make(camera: str = "cam", **settings: object) -> Mqtt:
            address = f"{broker.address}/{request.node.name}"
            chosen = MqttSettings(address, **{"device": "line3", **settings})  # type: ignore[arg-type]
            return stack.enter_context(Mqtt(chosen, LABELS, camera))

        yield make


@needs_broker
def test_what_is_told(broker: Broker, opened: Callable[..., Mqtt], request: pytest.FixtureRequest) -> None:
    base = f"{request.node.name}/line3"
    event = Event("entered", "press", 7, 0, 1.0)
    with Listener(broker.port) as heard:
        sink = opened()
        assert heard.last(f"{base}/availability") == "online"
        assert heard.last(f"{base}/cam/availability") == "offline", "no frame has come"
        sink.write(frame(3), watched(0, ids=(7,), events=(event,), counts=ENTERED))
        assert heard.last(f"{base}/cam/events").items() >= event.to_json(LABELS).items()
        assert heard.last(f"{base}/cam/objects") == {"bolt": 1, 'nut "M3"': 0}
        assert heard.last(f"{base}/cam/counts/press")["inside"] == {"total": 1, "classes": {"bolt": 1}}
        assert heard.last(f"{base}/cam/counts/gate 1")["to left"] == {"total": 0, "classes": {}}
        found = heard.last(f"{base}/cam/detections")
        assert (found["index"], found["time"]) == (3, 0.12)
        assert found["detections"] == [{"id": 7, "label": "bolt", "score": 0.9, "box": [1.0, 2.0, 21.0, 30.0]}]
        assert heard.last(f"{base}/cam/availability") == "online"
        sink.close()
        wait_for(lambda: heard.of(f"{base}/availability")[-1] == "offline")
        assert heard.of(f"{base}/cam/availability") == ["offline", "online", "offline"]
    with Listener(broker.port) as later:
        assert later.last(f"{base}/cam/objects")["bolt"] == 1
        wait_for(lambda: bool(later.of(f"{base}/cam/counts/press")))
        kept = {topic for topic, _, retained in later.messages if retained and topic.startswith(base)}
    assert kept == {
        f"{base}/{topic}"
        for topic in ("availability", "cam/availability", "cam/objects", "cam/counts/press", "cam/counts/gate 1")
    }


@needs_broker
def test_only_what_is_new_is_told(broker: Broker, opened: Callable[..., Mqtt], request: pytest.FixtureRequest) -> None:
    base = f"{request.node.name}/line3/cam"
    with Listener(broker.port) as heard:
        sink = opened(rate=1e9)
        for index in range(5):
            sink.write(frame(index), detections(0, left=index))
        sink.write(frame(5), detections())
        wait_for(lambda: len(heard.of(f"{base}/detections")) == 2)
        assert [json.loads(text)["index"] for text in heard.of(f"{base}/detections")] == [0, 5]
        assert [json.loads(text)["bolt"] for text in heard.of(f"{base}/objects")] == [1, 0]
    with Listener(broker.port) as heard:
        sink = opened("other", rate=1e9, on_change=False)
        for index in range(5):
            sink.write(frame(index), detections(0))
        wait_for(lambda: len(heard.of(f"{base[:-3]}other/detections")) == 5)
        slow, none = opened("slow", rate=0.001, on_change=False), opened("none", rate=0)
        for index in range(5):
            slow.write(frame(index), detections(0))
            none.write(frame(index), detections(*[0] * index))
        wait_for(lambda: len(heard.of(f"{base[:-3]}none/objects")) == 5)
        assert len(heard.of(f"{base[:-3]}slow/detections")) == 1
        assert heard.of(f"{base[:-3]}none/detections") == []


@needs_broker
def test_cameras_share_a_connection(
    broker: Broker, opened: Callable[..., Mqtt], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[MqttConnection] = []

    class Counted(MqttConnection):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr(mqtt_module, "MqttConnection", Counted)
    availability = f"{request.node.name}/line3/availability"
    with Listener(broker.port) as heard:
        first, second = opened("a"), opened("b")
        first.close()
        first.close()
        second.write(frame(), detections(0))
        assert heard.last(f"{request.node.name}/line3/b/objects")["bolt"] == 1
        assert heard.of(availability) == ["online"]
        second.close()
        wait_for(lambda: heard.of(availability) == ["online", "offline"])
    assert len(made) == 1


@needs_broker
@pytest.mark.slow
def test_a_killed_program_is_offline_by_its_last_will(broker: Broker) -> None:
    topic = "killed/line3/availability"
    with Listener(broker.port) as heard:
        command = [sys.executable, "-c", CLIENT, f"{broker.address}/killed", str(ROOT)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "written\n"
            wait_for(lambda: bool(heard.of("killed/line3/cam/objects")))
            assert heard.of(topic) == ["online"]
            program.send_signal(signal.SIGKILL)
        wait_for(lambda: heard.of(topic) == ["online", "offline"])


@needs_broker
def test_a_late_last_will_does_not_stay(
    broker: Broker, opened: Callable[..., Mqtt], request: pytest.FixtureRequest
) -> None:
    """After a power cut, a broker may notice that the old connection is dead when the new one is there."""
    from paho.mqtt.publish import single

    topic = f"{request.node.name}/line3/availability"
    with Listener(broker.port) as heard:
        opened()
        assert heard.last(topic) == "online"
        single(topic, "offline", qos=1, retain=True, port=broker.port, hostname="127.0.0.1")
        wait_for(lambda: heard.of(topic) == ["online", "offline", "online"])


@needs_broker
def test_a_broker_that_dies_and_returns(tmp_path: Path) -> None:
    with running(tmp_path) as broker:
        settings = MqttSettings(broker.address, "line3")
        sink, other = Mqtt(settings, LABELS, "cam"), Mqtt(settings, LABELS, "other")
        sink.write(frame(), watched(0))
        broker.kill()
        for each in (sink, other):
            with pytest.raises(SinkError, match=r"the MQTT broker at mqtt://127.0.0.1:\d+ is lost"):
                until(each.idle)
            with pytest.raises(SinkError, match="lost"):
                each.write(frame(), watched(0))
            each.close()
        with pytest.raises(SinkError, match="no MQTT broker answers at"):
            Mqtt(settings, LABELS, "cam")
        broker.start()
        with Listener(broker.port) as heard, Mqtt(settings, LABELS, "cam") as again:
            again.write(frame(), watched(0))
            assert heard.last("ssd-edge/line3/cam/objects")["bolt"] == 1
            assert heard.last("ssd-edge/line3/availability") == "online"
            wait_for(lambda: sum(topic.startswith("homeassistant/") for topic, _, _ in heard.messages) == 2 + 4 + 1 + 2)


def until(attempt: Callable[[], None]) -> None:
    """Try until it raises an error."""
    end = monotonic() + 30
    while monotonic() < end:
        attempt()
        threading.Event().wait(0.001)


@needs_broker
def test_user_and_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("no mosquitto_passwd")
    passwords = tmp_path / "passwords"
    subprocess.run([tool, "-b", "-c", str(passwords), "line3", "s3cret/@1"], check=True)
    with running(tmp_path, f"allow_anonymous false\npassword_file {passwords}") as broker:
        place = broker.address.removeprefix("mqtt://")
        Mqtt(MqttSettings(f"mqtt://line3:s3cret%2F%401@{place}"), LABELS).close()
        for wrong in (f"mqtt://line3:wr0ng@{place}", f"mqtt://{place}"):
            with pytest.raises(SinkError, match=r"refuses the user or password: .*SSD_EDGE_MQTT_PASSWORD") as caught:
                Mqtt(MqttSettings(wrong), LABELS)
            assert "wr0ng" not in str(caught.value)
            assert "wr0ng" not in repr(caught.value)
        monkeypatch.setenv("SSD_EDGE_MQTT_USER", "line3")
        monkeypatch.setenv("SSD_EDGE_MQTT_PASSWORD", "s3cret/@1")
        open_sink("mqtt", f"mqtt://{place}", LABELS, None).close()


@needs_broker
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves its socket to Python
def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = certificates(tmp_path)
    settings = f"allow_anonymous true\ncertfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key"
    with running(tmp_path, settings) as broker:
        address = f"mqtts://127.0.0.1:{broker.port}"
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(SinkError, match=r"does not trust the certificate of mqtts://127.0.0.1.*set SSL_CERT_FILE"):
            Mqtt(MqttSettings(address), LABELS)
        with pytest.raises(SinkError, match="begins with mqtts://"):  # without TLS
            Mqtt(MqttSettings(broker.address), LABELS)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        with Mqtt(MqttSettings(address), LABELS) as sink:
            sink.write(frame(), detections(0))
            sink.idle()


def test_nobody_answers() -> None:
    with pytest.raises(SinkError, match=r"no MQTT broker answers at mqtt://127.0.0.1:\d+ \(Connection refused\)"):
        Mqtt(MqttSettings(f"mqtt://user:secret@127.0.0.1:{free_port()}"), LABELS)
    with pytest.raises(SinkError, match=r"no MQTT broker answers at mqtt://no-such-host.invalid:1883"):
        Mqtt(MqttSettings("mqtt://no-such-host.invalid"), LABELS)


def test_something_else_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the connection and says nothing."""
    monkeypatch.setattr(mqtt_connection, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = monotonic()
        with pytest.raises(SinkError, match="does not answer as an MQTT broker"):
            Mqtt(MqttSettings(f"mqtt://127.0.0.1:{server.getsockname()[1]}"), LABELS)
        assert monotonic() - began < 30


@pytest.mark.parametrize(
    "address",
    [
        "",
        "broker",
        "http://broker",
        "mqtt://",
        "mqtt://user:s3cret/x@broker",
        "mqtt://h:99999",
        "mqtt://a b",
        "mqtt://h:0",
    ],
)
def test_a_wrong_address(address: str) -> None:
    with pytest.raises(
        SinkError, match="is not an address of the form mqtt://USER:PASSWORD@HOST:1883/PREFIX"
    ) as caught:
        Mqtt(MqttSettings(address), LABELS)
    assert "s3cret" not in str(caught.value)


def test_a_wrong_prefix() -> None:
    with pytest.raises(SinkError, match=r"no \+, # or \?"):
        Mqtt(MqttSettings("mqtt://h/a/+"), LABELS)


@needs_broker
@pytest.mark.slow
def test_a_network_that_takes_nothing(broker: Broker, opened: Callable[..., Mqtt]) -> None:
    """Messages that cannot be sent pile up to a limit, then the output counts as broken."""
    sink = opened(rate=1e9, on_change=False)
    assert sink._connection is not None
    sink._connection._client.on_publish = None  # as if none were ever sent
    with pytest.raises(SinkError, match="lost: 500 messages wait"):
        until(partial(sink.write, frame(), detections(0)))


# Home Assistant.

TOPICS = Topics("ssd-edge", "line3", "Halle 2/süd")


def test_entities() -> None:
    entities = [*Discovery(TOPICS).classes(LABELS), *Discovery(TOPICS).places((ZONE, LINE))]
    assert len({entity.topic for entity in entities}) == len(entities) == 2 + 5 + 2
    assert len({entity.config["unique_id"] for entity in entities}) == len(entities)
    for entity in entities:
        start, component, node, which, end = entity.topic.split("/")
        assert (start, end) == ("homeassistant", "config")
        assert component in ("sensor", "binary_sensor")
        assert re.fullmatch("[A-Za-z0-9_-]+", node)
        assert re.fullmatch("[A-Za-z0-9_-]+", which)
        config = json.loads(json.dumps(entity.config))
        assert config.keys() >= {
            "name",
            "unique_id",
            "state_topic",
            "value_template",
            "availability",
            "device",
            "origin",
        }
        assert config["device"]["identifiers"] == ["ssd-edge_line3"]
        assert [each["topic"] for each in config["availability"]] == [TOPICS.device_availability, TOPICS.availability]
    kinds = [entity.config["name"] for entity in entities if "binary_sensor" in entity.topic]
    assert kinds == ["Halle 2/süd press"]


def test_templates_give_the_numbers() -> None:
    """Home Assistant renders the templates over the messages."""
    messages = {
        TOPICS.objects: {"bolt": 3, 'nut "M3"': 4},
        TOPICS.counts("press"): {kind: {"total": n} for n, kind in enumerate(("inside", "entered", "left", "dwelt"))},
        TOPICS.counts("gate 1"): {"to left": {"total": 8}, "to right": {"total": 9}},
    }
    entities = [*Discovery(TOPICS).classes(LABELS), *Discovery(TOPICS).places((ZONE, LINE))]
    values = {
        entity.config["name"].removeprefix("Halle 2/süd "): jinja2.Template(entity.config["value_template"]).render(
            value_json=messages[entity.config["state_topic"]]
        )
        for entity in entities
    }
    assert values == {
        "bolt": "3",
        'nut "M3"': "4",
        "press inside": "0",
        "press entered": "1",
        "press left": "2",
        "press dwelt": "3",
        "press": "OFF",
        "gate 1 to left": "8",
        "gate 1 to right": "9",
    }


def test_ids_do_not_change() -> None:
    """A changed id would make each installation's entities new ones."""
    first = next(Discovery(Topics("p", "line3", "cam")).classes(["bolt"]))
    assert first.config["unique_id"] == "ssd-edge_line3_cam_objects-bolt-748c1a"
    assert first.topic == "homeassistant/sensor/ssd-edge_line3/cam_objects-bolt-748c1a/config"


def test_a_model_of_many_classes_fills_no_dashboard() -> None:
    labels = [f"class {number}" for number in range(MOST_CLASSES + 1)]
    assert all(entity.config["enabled_by_default"] is False for entity in Discovery(TOPICS).classes(labels))
    assert all("enabled_by_default" not in entity.config for entity in Discovery(TOPICS).classes(labels[1:]))
    assert list(Discovery(TOPICS).classes([])) == []


def test_names_stay_apart() -> None:
    names = ["a", "a b", "a/b", "a-b", "a+b", "ä", "ö", "", "%", "a%2Fb", "#", "Halle 2"]
    assert len({level(name) for name in names}) == len({identifier(name) for name in names}) == len(names)
    assert level("Halle 2/süd") == "Halle 2%2Fsüd"
    assert identifier("x", "y z") != identifier("x y", "z")


@needs_broker
def test_discovery_is_kept_and_may_be_left_out(
    broker: Broker, opened: Callable[..., Mqtt], request: pytest.FixtureRequest
) -> None:
    opened(discovery="ha").write(frame(), watched(0))
    opened("quiet", discovery="").write(frame(), watched(0))
    for _ in range(2):  # the second hears what is kept
        with Listener(broker.port) as heard:
            wait_for(lambda: sum(topic.startswith("ha/") for topic, _, _ in heard.messages) == 9)
        configs = [json.loads(text) for topic, text, retained in heard.messages if topic.startswith("ha/") and retained]
    assert len(configs) == 9
    assert not any("quiet" in config["name"] for config in configs)


@contextmanager
def outage(folder: Path) -> Iterator[tuple[Broker, Isolated]]:
    """Give a broker that was killed, and an isolated output that has noticed it."""
    said: list[str] = []
    with running(folder) as broker:
        settings = MqttSettings(broker.address, "line3")
        with Isolated(lambda: Mqtt(settings, LABELS, "cam"), "mqtt", said.append) as sink:
            sink.write(frame(0), watched(0))
            broker.kill()
            wait_for(lambda: any("is lost: it hung up" in line for line in said))
            yield broker, sink


@needs_broker
def test_isolated_it_returns_by_itself(tmp_path: Path) -> None:
    """The loop only writes; what became of the broker is told, and everything retained is there again."""
    with outage(tmp_path) as (broker, sink):
        broker.start()
        with Listener(broker.port) as heard:

            def told() -> bool:
                sink.write(frame(1), watched(0, 0))
                return bool(heard.of("ssd-edge/line3/cam/objects"))

            wait_for(told)
            assert heard.last("ssd-edge/line3/cam/objects")["bolt"] == 2
            assert heard.last("ssd-edge/line3/availability") == "online"


@needs_broker
def test_a_crossing_during_an_outage_is_told_after_it(tmp_path: Path) -> None:
    crossing = Event("crossed", "gate 1", 7, 0, 0.04, to="left")
    with outage(tmp_path) as (broker, sink):
        missed = frame(1)
        sink.write(missed, watched(0, events=(crossing,)))
        broker.start()
        with Listener(broker.port) as heard:

            def told() -> bool:
                sink.write(frame(2), watched(0))
                return bool(heard.of("ssd-edge/line3/cam/events"))

            wait_for(told)
            event = heard.last("ssd-edge/line3/cam/events")
            assert event.items() >= {**crossing.to_json(LABELS), "index": 1, "time": 0.04}.items()
            assert datetime.fromisoformat(event["captured"].replace("Z", "+00:00")).timestamp() == pytest.approx(
                time() - (monotonic() - missed.captured), abs=0.1
            )
        assert sink.report().late_events == 1
