"""``run`` with MQTT, a webhook and RTSP: what is told, and mistakes in one sentence before anything starts."""

from __future__ import annotations

import json

import pytest

from tests.outputs.broker import Listener, free_port, needs_broker, running
from tests.outputs.test_webhook import Receiver


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--mqtt", "broker:1883"), ("is not an address of the form mqtt://",)),
        (("--mqtt", "mqtt://me:s3cret/x@broker"), ("mqtt://broker", "%2F", "SSD_EDGE_MQTT_PASSWORD")),
        (("--webhook", "https://host/t0ken"), ("--watch", "--webhook-rate 1")),
        (("--webhook", "host/t0ken", "--webhook-rate", "1"), ("form https://HOST/PATH",)),
        (("--rtsp-out", "rtsp://0.0.0.0:8554"), ("whole network", "SSD_EDGE_RTSP_PASSWORD")),
        (("--rtsp-out", "eight"), ("form rtsp://",)),
    ],
)
def test_a_mistake_is_one_sentence_before_the_model_is_opened(cli, monkeypatch, arguments, words):
    for name in ("MQTT", "WEBHOOK", "RTSP"):
        monkeypatch.delenv(f"SSD_EDGE_{name}_USER", raising=False)
    sentence = cli("run", "no-such.engine", "-c", "synthetic", *arguments).sentence(*words)
    assert "s3cret" not in sentence
    assert "t0ken" not in sentence


def test_who_does_not_answer_is_one_sentence_before_the_first_frame(cli, bundle):
    port = free_port()
    cli("run", bundle, "-c", "synthetic", "--mqtt", f"mqtt://127.0.0.1:{port}").sentence("no MQTT broker answers", port)
    done = cli("run", bundle, "-c", "synthetic", "--webhook", f"http://127.0.0.1:{port}/x", "--webhook-rate", 1)
    done.sentence("does not answer", port)


@needs_broker
def test_a_run_tells_what_it_sees(cli, bundle, tmp_path):
    receiver = Receiver(200)
    try:
        with running(tmp_path) as broker, Listener(broker.port) as heard:
            done = cli(
                *("run", bundle, "-c", "belt=synthetic", "--frames", 5, "--min-score", 0.01),
                *("--mqtt", f"{broker.address}/works", "--device", "line3"),
                *("--webhook", receiver.address, "--webhook-rate", 1000),
            )
            assert done.code == 0, done.err
            assert heard.last("works/line3/belt/detections")["index"] >= 0
            assert heard.last("works/line3/belt/objects").keys() == {"bolt", "nut"}
            assert heard.last("works/line3/availability") in ("online", "offline")
            assert any(topic.startswith("homeassistant/sensor/ssd-edge_line3/belt_") for topic, _, _ in heard.messages)
    finally:
        receiver.close()
    first = json.loads(receiver.bodies[0])
    assert (first["device"], first["camera"]) == ("line3", "belt")
    assert "t0ken" not in done.err
    assert "s3cret" not in done.err
