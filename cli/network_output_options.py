"""Options of the commands that tell others what is seen: MQTT, webhooks, RTSP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssd_edge.errors import SinkError
from ssd_edge.outputs.catalogue import SINKS, check_target, open_sink

if TYPE_CHECKING:
    from ssd_edge.outputs.opening import Opener

Mqtt = Annotated[
    str | None,
    typer.Option("--mqtt", metavar="ADDRESS", help=f"{SINKS['mqtt'].about} docs/outputs.md lists the topics."),
]
MqttRate = Annotated[
    float,
    typer.Option(
        "--mqtt-rate",
        metavar="N",
        min=0,
        help="Most messages a second of the objects in a frame, sent when other objects are seen; 0 for none.",
    ),
]
Webhook = Annotated[str | None, typer.Option("--webhook", metavar="ADDRESS", help=SINKS["webhook"].about)]
WebhookRate = Annotated[
    float,
    typer.Option(
        "--webhook-rate",
        metavar="N",
        min=0,
        help="Most messages a second of frames without an event, sent when other objects are seen.",
    ),
]
WebhookPicture = Annotated[
    bool, typer.Option("--webhook-picture", help="Send the annotated frame in each message, as JPEG in base64.")
]
RtspOut = Annotated[str | None, typer.Option("--rtsp-out", metavar="PORT|ADDRESS", help=SINKS["rtsp"].about)]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="Name of this device in messages; the host's name by default."),
]


@dataclass(frozen=True)
class NetworkOutputs:
    """The values of these options."""

    mqtt: str | None
    mqtt_rate: float
    webhook: str | None
    webhook_rate: float
    webhook_picture: bool
    rtsp_out: str | None
    device: str | None

    def check(self, watched: bool) -> None:
        """Refuse what cannot work.

        Args:
            watched: whether zones and lines are watched.

        Raises:
            SinkError: an address has the wrong form, or there would be nothing to send.
        """
        if self.webhook is not None and not watched and not self.webhook_rate:
            raise SinkError(
                "--webhook sends events of zones and lines, which need --watch FILE.yaml; or send frames, at most one "
                "a second, by --webhook-rate 1"
            )
        for name, target in self.targets.items():
            check_target(name, target)

    @property
    def targets(self) -> dict[str, str]:
        """The outputs that are wanted, with their addresses."""
        given = {"mqtt": self.mqtt, "webhook": self.webhook, "rtsp": self.rtsp_out}
        return {name: target for name, target in given.items() if target is not None}

    def openers(
        self, camera: str, labels: Sequence[str], fps: float | None, say: Callable[[str], None]
    ) -> dict[str, Opener]:
        """Return what opens each output; see ``outputs.opening``.

        Args:
            camera: its name in messages and in the RTSP address.
            labels: class names, as in the model's spec.
            fps: frame rate of the source; None if it is not known.
            say: takes a line on where the picture is served.
        """
        device = self.device or ""
        settings: dict[str, dict[str, Any]] = {
            "mqtt": {"device": device, "rate": self.mqtt_rate},
            "webhook": {"device": device, "rate": self.webhook_rate, "picture": self.webhook_picture},
            "rtsp": {"say": say},
        }
        return {
            name: partial(open_sink, name, target, labels, fps, camera=camera, **settings[name])
            for name, target in self.targets.items()
        }
