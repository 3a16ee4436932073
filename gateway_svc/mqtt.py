"""MQTT: events that are told once and never kept, and states that are kept and never told as events.

`PREFIX/events/KIND/CAMERA`   not retained, QoS 1, with a message expiry that ends at `valid_until`: a broker does not
                              hand an event that is over to a subscriber that was away;
`PREFIX/state/camera/CAMERA`  retained: how a camera does;
`PREFIX/state/alert/ALERT`    retained while the alert is not resolved: that it is open, and no more than that;
`PREFIX/gateway/status`       retained: `online`, and `offline` by the connection's will.

A state has another schema than an event, no key, no `valid_until`, and names nobody. A connection that broke is thrown
away with what was under way on it: what was not acknowledged is the outbox's, which looks at its age once more before
it sends it again. The library's own memory would send it without looking.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway_svc.delivering import DeliveryError, DeliveryRefusedError
from gateway_svc.happenings import Kind
from gateway_svc.home_assistant import discovery
from gateway_svc.messages import Message, payload, stamp
from gateway_svc.targets import Mqtt

STATE_SCHEMA = "tessera.state/1"
_KEEPALIVE_S = 20
_NO_NEWS_LIVES_S = 60
_OPEN_ALERT_LIVES_S = 7 * 86_400
_REFUSED = frozenset({"Not authorized", "Topic name invalid", "Payload format invalid", "Packet too large"})


class MqttDeliverer:
    """Publishes on one broker.

    Args:
        way: where it is, and the topics' prefix.
        client_id: names this connection; a second one of the same name would cut it.
        timeout_s: for the connection, and for each acknowledgement.
    """

    def __init__(self, way: Mqtt, client_id: str, timeout_s: float) -> None:
        self._way = way
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None
        self._one_at_a_time = asyncio.Lock()
        self._announced: set[str] = set()

    async def deliver(self, message: Message) -> None:
        """Publish the event, and what it means for the states.

        Raises:
            DeliveryRefusedError: the broker will not have it.
            DeliveryError: there is no connection, or no acknowledgement.
        """
        connection = await self._connected()
        await self._announce(connection, message.happening.camera_id)
        lives_s = _NO_NEWS_LIVES_S
        if message.is_news:
            lives_s = max(1, int((message.happening.valid_until - message.sent_at).total_seconds()))
        await connection.publish(self._event_topic(message), _event(message), lives_s=lives_s)
        await self._tell_state(connection, message)

    async def tell_state(self, message: Message) -> None:
        """Publish what an event means for the states, and not the event.

        Raises:
            DeliveryError: as `deliver`.
        """
        connection = await self._connected()
        await self._announce(connection, message.happening.camera_id)
        await self._tell_state(connection, message)

    async def close(self) -> None:
        """Say that the gateway is away, and disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DeliveryError):
                await connection.publish(self._status_topic, "offline", retain=True)
            await connection.close()

    @property
    def _status_topic(self) -> str:
        return f"{self._way.prefix}/gateway/status"

    async def _connected(self) -> _Connection:
        async with self._one_at_a_time:
            if self._connection is None or self._connection.is_broken:
                if self._connection is not None:
                    await self._connection.close()
                self._connection = None
                connection = _Connection(self._way, self._client_id, self._status_topic, self._timeout_s)
                await connection.open()
                self._announced.clear()
                await connection.publish(self._status_topic, "online", retain=True)
                self._connection = connection
            return self._connection

    async def _announce(self, connection: _Connection, camera_id: str) -> None:
        """Tell Home Assistant of a camera, once a connection."""
        if not camera_id or not self._way.discovery_prefix or camera_id in self._announced:
            return
        for topic, config in discovery(self._way.discovery_prefix, self._way.prefix, camera_id).items():
            await connection.publish(topic, json.dumps(config), retain=True)
        self._announced.add(camera_id)

    async def _tell_state(self, connection: _Connection, message: Message) -> None:
        happening, told = message.happening, message.happening.facts
        state: dict[str, object] = {"schema": STATE_SCHEMA, "as_of": stamp(happening.recorded_at)}
        if happening.kind is Kind.CAMERA and not message.replayed:
            state |= {"camera_id": happening.camera_id, "state": told.get("state") or told.get("event_kind")}
            topic = f"{self._way.prefix}/state/camera/{happening.camera_id}"
            await connection.publish(topic, json.dumps(state), retain=True)
        if happening.kind is Kind.ALERT and not message.replayed:
            topic = f"{self._way.prefix}/state/alert/{happening.incident}"
            if happening.is_over:
                await connection.publish(topic, "", retain=True)
                return
            state |= {"camera_id": happening.camera_id, "state": told.get("state"), "rule_id": told.get("rule_id")}
            state["severity"] = happening.severity.name
            await connection.publish(topic, json.dumps(state), retain=True, lives_s=_OPEN_ALERT_LIVES_S)

    def _event_topic(self, message: Message) -> str:
        happening = message.happening
        return "/".join(
            part for part in (self._way.prefix, "events", happening.kind.lower(), happening.camera_id) if part
        )


class _Connection:
    """One connection through its one life; runs on the library's thread, answers on ours."""

    def __init__(self, way: Mqtt, client_id: str, status_topic: str, timeout_s: float) -> None:
        self._way = way
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._early: dict[int, ReasonCode] = {}
        self.is_broken = False
        # Without reconnecting: what was not acknowledged would be sent again, however old it is by then.
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        client.username_pw_set(way.username or None, str(way.password) or None)
        if way.tls:
            client.tls_set(ca_certs=way.ca_file or None)
        client.will_set(status_topic, "offline", qos=1, retain=True)
        client.connect_timeout = timeout_s
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        self._client = client

    async def open(self) -> None:
        """Connect, with nothing left of an earlier session.

        Raises:
            DeliveryError: the broker is away, or does not let us in.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.to_thread(
                    self._client.connect, self._way.host, self._way.port, _KEEPALIVE_S, clean_start=True
                )
                self._client.loop_start()
                await self._opened
        except (TimeoutError, OSError, ValueError) as error:
            await self.close()
            raise DeliveryError(f"no connection: {type(error).__name__}") from None
        except (DeliveryError, asyncio.CancelledError):
            await self.close()
            raise

    async def publish(self, topic: str, text: str, *, retain: bool = False, lives_s: int | None = None) -> None:
        """Publish at QoS 1; returns when the broker has it.

        Raises:
            DeliveryError: it has not, or nobody knows.
        """
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if lives_s is not None:
            properties.MessageExpiryInterval = lives_s
        if self.is_broken:
            raise DeliveryError("the connection broke")
        sent = self._client.publish(topic, text, qos=1, retain=retain, properties=properties)
        if sent.rc != paho.MQTT_ERR_SUCCESS:
            raise DeliveryError(f"not sent: {paho.error_string(sent.rc)}")
        if sent.mid in self._early:
            _require_taken(self._early.pop(sent.mid))
            return
        acknowledged = self._waiting[sent.mid] = self._loop.create_future()
        try:
            async with asyncio.timeout(self._timeout_s):
                await acknowledged
        except TimeoutError:
            self.is_broken = True
            raise DeliveryError("no acknowledgement in time") from None
        finally:
            self._waiting.pop(sent.mid, None)

    async def close(self) -> None:
        """Disconnect, and forget what was under way."""
        self.is_broken = True
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    # ---- called on the library's thread

    def _on_connect(self, _: paho.Client, __: object, ___: object, reason: ReasonCode, ____: object) -> None:
        self._tell(self._set_opened, reason)

    def _on_disconnect(self, *_: Any) -> None:  # noqa: ANN401 - the library's own values, which tell nothing more
        self._tell(self._set_broken)

    def _on_publish(self, _: paho.Client, __: object, mid: int, reason: ReasonCode, ___: object) -> None:
        self._tell(self._set_acknowledged, mid, reason)

    def _tell(self, call: Any, *values: Any) -> None:  # noqa: ANN401 - one of the three below
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call, *values)

    # ---- on the loop

    def _set_opened(self, reason: ReasonCode) -> None:
        if self._opened.done():
            return
        if reason.is_failure:
            self._opened.set_exception(DeliveryError(f"the broker refused the connection: {reason}"))
        else:
            self._opened.set_result(None)

    def _set_broken(self) -> None:
        self.is_broken = True
        for future in (self._opened, *self._waiting.values()):
            if not future.done():
                future.set_exception(DeliveryError("the connection broke"))
        with contextlib.suppress(asyncio.CancelledError, DeliveryError):
            self._opened.exception()  # seen here, so that nobody warns of it

    def _set_acknowledged(self, mid: int, reason: ReasonCode) -> None:
        future = self._waiting.get(mid)
        if future is None:
            self._early[mid] = reason
        elif not future.done():
            try:
                _require_taken(reason)
            except DeliveryError as error:
                future.set_exception(error)
            else:
                future.set_result(None)


def _require_taken(reason: ReasonCode) -> None:
    if reason.is_failure:
        kind = DeliveryRefusedError if str(reason) in _REFUSED else DeliveryError
        raise kind(f"the broker answered: {reason}")


def _event(message: Message) -> str:
    kind = message.happening.kind.lower() if message.happening.is_call else "update"
    marked = "replayed" if message.replayed else "late" if message.late else kind
    return json.dumps({"event_type": marked, **payload(message)})
