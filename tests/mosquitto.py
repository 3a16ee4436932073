"""A real Mosquitto for tests, on a port of its own, and a subscriber that keeps what it was sent."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tessera.chassis.ports import free_port

LIMIT_S = 40.0


def mosquitto_binary() -> str | None:
    """Debian's Mosquitto; None when it is not installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


@dataclass
class Broker:
    """One Mosquitto: started, stopped and killed by its own process id; it keeps its sessions in a file."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        binary = mosquitto_binary()
        assert binary is not None
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {self.folder}/\nuser root\n"
        )
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen([binary, "-c", str(config)], stdout=log, stderr=log)
        give_up_s = time.monotonic() + LIMIT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
            assert time.monotonic() < give_up_s
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM: it writes its sessions down."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(LIMIT_S)
            self.process = None


@contextlib.contextmanager
def running_broker(folder: Path) -> Iterator[Broker]:
    """A broker that runs until the end of the block."""
    broker = Broker(folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@dataclass(frozen=True, slots=True)
class Got:
    """What a subscriber was sent."""

    topic: str
    text: str
    retained: bool


class Subscriber:
    """Subscribes to everything, in a session that outlives its connection.

    Args:
        port: of the broker.
        name: of its session.
        topics: what it asks for.
    """

    def __init__(self, port: int, name: str = "house", topics: str = "#") -> None:
        self.got: list[Got] = []
        self._ready = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        client.on_message = self._take
        client.on_connect = self._subscribe
        client.on_subscribe = lambda *_: self._ready.set()
        self._topics = topics
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self._client = client

    def __enter__(self) -> Subscriber:
        self._client.loop_start()
        assert self._ready.wait(LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def under(self, prefix: str) -> list[Got]:
        """What came on topics that begin so."""
        return [one for one in list(self.got) if one.topic.startswith(prefix)]

    def _subscribe(self, client: paho.Client, *_: Any) -> None:
        client.subscribe(self._topics, options=SubscribeOptions(qos=1, retainAsPublished=True))

    def _take(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        self.got.append(Got(message.topic, message.payload.decode(), bool(message.retain)))
