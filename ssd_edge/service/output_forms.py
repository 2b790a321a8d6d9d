"""The forms of a service's outputs: what each kind may be asked for, in the file's words."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Annotated, Any, get_type_hints

import msgspec

from ssd_edge.outputs.mqtt import MqttSettings
from ssd_edge.outputs.webhook import WebhookSettings


class RecordingForm(msgspec.Struct, forbid_unknown_fields=True):
    """A video, lines of JSON, or a recording of frames as they arrived.

    Attributes:
        to: the file; of frames as they arrived, the folder.
        rotate_size: begin a new file at this size, such as ``500MB``.
        rotate_every: begin a new file after this time, such as ``10m``.
    """

    to: str
    rotate_size: str | None = None
    rotate_every: str | None = None


class RtspForm(msgspec.Struct, forbid_unknown_fields=True):
    """The annotated picture, served by RTSP.

    Attributes:
        to: a port of this machine, or an address of it.
    """

    to: str | int


class FolderForm(msgspec.Struct, forbid_unknown_fields=True):
    """Pictures.

    Attributes:
        to: the folder.
    """

    to: str


class ClipsForm(msgspec.Struct, forbid_unknown_fields=True):
    """Clips of events.

    Attributes:
        to: the folder.
        before: how much a clip shows before its first event.
        after: how much it shows after its last.
    """

    to: str
    before: str = "5s"
    after: str = "5s"


class CollectForm(msgspec.Struct, forbid_unknown_fields=True):
    """Hard frames, as a data set.

    Attributes:
        to: the folder.
        against: a second engine that looks at some of the frames.
        frames: most frames in the folder.
        size: most room for it, such as ``1GB``.
        share: most time that collecting takes, in percent of all time.
        quiet: collect a frame after so long without an object.
        gap: time of which the hardest frame for each reason is collected.
    """

    to: str
    against: str | None = None
    frames: Annotated[int, msgspec.Meta(ge=1)] = 1000
    size: str = "1GB"
    share: Annotated[float, msgspec.Meta(gt=0, le=100)] = 5.0
    quiet: str = "10m"
    gap: str = "2s"


def _form(name: str, settings: type[Any]) -> type[msgspec.Struct]:
    """Make a form of an output's settings, whose ``address`` is called ``to``, as everywhere in the file."""
    hints = get_type_hints(settings)
    members: list[Any] = [("to", str)]
    for one in fields(settings):
        if one.name != "address":
            assert one.default is not MISSING, f"{name}: {one.name} needs a default"
            members.append((one.name, hints[one.name], one.default))
    return msgspec.defstruct(name, members, forbid_unknown_fields=True, module=__name__)


FORMS: dict[str, type[msgspec.Struct]] = {
    "video": RecordingForm,
    "images": FolderForm,
    "clips": ClipsForm,
    "collect": CollectForm,
    "json": RecordingForm,
    "record": RecordingForm,
    "mqtt": _form("MqttForm", MqttSettings),
    "webhook": _form("WebhookForm", WebhookSettings),
    "rtsp": RtspForm,
}
"""The form of each kind of output that a service may have: a key of ``outputs.catalogue.SINKS``, or ``record``."""

FILES = ("video", "json")
FOLDERS = ("images", "clips", "collect", "record")
"""Outputs that write a file, and into a folder of their own; all others use the network."""

OutputsForm: Any = msgspec.defstruct(
    "OutputsForm",
    [(kind, str | int | form | msgspec.UnsetType | None, msgspec.UNSET) for kind, form in FORMS.items()],
    forbid_unknown_fields=True,
    module=__name__,
)
"""Outputs by kind: a target, or a target with settings; None takes away one that all cameras have."""
