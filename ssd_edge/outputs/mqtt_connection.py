"""A connection to an MQTT broker, which several cameras share."""

from __future__ import annotations

import json
import secrets
import ssl
import threading
from typing import TYPE_CHECKING, Any

from ssd_edge.errors import SinkError
from ssd_edge.outputs.endpoint import Endpoint

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

TIMEOUT = 5.0
"""Seconds until a broker must have answered."""
_KEEPALIVE = 15  # seconds; a broker that is gone without a word is noticed within twice that
_MOST_WAITING = 500  # messages that may wait for the network before the connection counts as broken
_REFUSED = "Bad user name or password", "Not authorized"
_ENDS = {"Unspecified error": "it hung up"}  # what paho says, and what it means


class MqttConnection:
    """A connection with a last will; it is not opened again by itself.

    Args:
        endpoint: the broker.
        will: topic of its availability: ``online`` from now on, ``offline`` after ``close`` or the last will; retained.

    Raises:
        SinkError: the broker cannot be reached, or refuses.
    """

    def __init__(self, endpoint: Endpoint, will: str) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._endpoint, self._will = endpoint, will
        self._answered, self._refusal, self._lost, self._closing = threading.Event(), "", "", False
        self._lock, self._waiting, self._all_sent = threading.Lock(), 0, threading.Condition()
        # A new name each time: of two programs with one name, a broker would throw out the other by turns, for ever.
        name = f"ssdedge{secrets.token_hex(8)}"
        self._client = Client(CallbackAPIVersion.VERSION2, name, reconnect_on_failure=False)
        self._client.connect_timeout = TIMEOUT
        self._client.on_connect, self._client.on_disconnect = self._on_connect, self._on_disconnect
        self._client.on_publish, self._client.on_message = self._on_publish, self._on_message
        self._client.will_set(will, "offline", qos=1, retain=True)
        if endpoint.user:
            self._client.username_pw_set(endpoint.user, endpoint.password or None)
        if endpoint.scheme == "mqtts":
            self._client.tls_set_context(ssl.create_default_context())
        self._connect()
        self._client.subscribe(will, qos=1)
        self.publish(will, "online", qos=1, retain=True)

    @property
    def usable(self) -> bool:
        """See ``sharing.Shareable``."""
        return not self._lost

    def check(self) -> None:
        """Raise an error if the connection is broken.

        Raises:
            SinkError: it is.
        """
        if self._lost:
            raise SinkError(f"the MQTT broker at {self._endpoint} is lost: {self._lost}")

    def publish(self, topic: str, payload: str | dict[str, Any], *, qos: int, retain: bool = False) -> None:
        """Send a message in the background; a dict is sent as JSON.

        Raises:
            SinkError: the connection is broken, or the network takes nothing any more.
        """
        self.check()
        if self._waiting > _MOST_WAITING:
            self._lost = f"{_MOST_WAITING} messages wait, and it takes none"
            self.check()
        with self._all_sent:
            self._waiting += 1
        text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
        self._client.publish(topic, text, qos, retain)

    def close(self) -> None:
        """Say ``offline``, wait up to two seconds until all is sent, and hang up."""
        self._closing = True
        if not self._lost:
            self.publish(self._will, "offline", qos=1, retain=True)
            with self._all_sent:
                self._all_sent.wait_for(lambda: self._waiting <= 0 or bool(self._lost), 2.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _connect(self) -> None:
        try:
            self._client.connect(self._endpoint.host, self._endpoint.port, _KEEPALIVE)
        except ssl.SSLCertVerificationError as error:
            raise SinkError(
                f"this machine does not trust the certificate of {self._endpoint} ({error.verify_message}): set "
                "SSL_CERT_FILE to the file of the authority that signed it"
            ) from None
        except (OSError, ValueError) as error:  # ValueError: a host name that is none
            why = getattr(error, "strerror", None) or error
            raise SinkError(
                f"no MQTT broker answers at {self._endpoint} ({why}): start it, or correct its address, mqtt://HOST:PORT"
            ) from None
        self._client.loop_start()
        if self._answered.wait(TIMEOUT) and not self._refusal and not self._lost:
            return
        self._client.disconnect()
        self._client.loop_stop()
        if self._refusal in _REFUSED:
            raise SinkError(
                f"the MQTT broker at {self._endpoint} refuses the user or password: give them as "
                "mqtt://USER:PASSWORD@HOST, or set SSD_EDGE_MQTT_USER and SSD_EDGE_MQTT_PASSWORD"
            )
        why = f"refuses: {self._refusal}" if self._refusal else "does not answer as an MQTT broker"
        raise SinkError(f"{self._endpoint} {why}; with TLS its address begins with mqtts:// and its port is often 8883")

    # The client's thread calls these.

    def _on_connect(
        self, client: Client, data: Any, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._refusal = str(code) if code.is_failure else ""
        self._answered.set()

    def _on_disconnect(
        self, client: Client, data: Any, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        with self._all_sent:
            self._lost = self._lost or ("it was closed" if self._closing else _ENDS.get(str(code), str(code).lower()))
            self._all_sent.notify_all()
        self._answered.set()

    def _on_publish(
        self, client: Client, data: Any, number: int, code: ReasonCode, properties: Properties | None
    ) -> None:
        with self._all_sent:
            self._waiting -= 1
            self._all_sent.notify_all()

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        # The last will of an earlier connection, which the broker noticed only now to be dead.
        if message.payload == b"offline" and not message.retain and not self._closing:
            client.publish(self._will, "online", qos=1, retain=True)
            with self._all_sent:
                self._waiting += 1
