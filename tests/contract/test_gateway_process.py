"""gateway_svc as a process: from the event log to a receiver, through kill -9, by one gateway at a time."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tessera.chassis.channel import open_channel
from tessera.chassis.ports import free_port
from tessera.cli.__main__ import main
from tessera.client import wire
from tessera.client.webhooks import WebhookReceiver
from tessera.v1 import events_pb2 as pb
from tessera.v1 import events_pb2_grpc
from tests.eventually import eventually
from tests.gateway_world import SECRET, Receiver, running_receiver
from tests.valkey import PrivateServer, forcing_server

LIMIT_S = 60.0


class FakeGallery(events_pb2_grpc.EventServiceServicer):
    """An event log in memory."""

    def __init__(self) -> None:
        self.events: list[pb.Event] = []
        self.oldest = 1
        self.watches: list[pb.WatchEventsRequest] = []
        self._grown = asyncio.Event()

    def tell(self, alert_id: str, valid_s: float = 60.0) -> None:
        """Record an alert."""
        now = datetime.now(UTC)
        alert = pb.Alert(alert_id=alert_id, rule_id="strangers", severity=pb.SEVERITY_CRITICAL, summary="somebody")
        alert.state, alert.change = pb.ALERT_STATE_OPEN, pb.ALERT_CHANGE_OPENED
        event = pb.Event(
            event_id=f"alert-{alert_id}",
            revision=1,
            cursor=str(len(self.events) + 1),
            event_time=wire.time_to_wire(now),
            recorded_at=wire.time_to_wire(now),
            valid_until=wire.time_to_wire(now + timedelta(seconds=valid_s)),
            camera_id="yard",
            alert=alert,
        )
        self.events.append(event)
        self._grown.set()
        self._grown = asyncio.Event()

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        self.watches.append(request)
        newest = len(self.events)
        at = {"": newest, "0": self.oldest - 1}.get(request.after_cursor)
        at = int(request.after_cursor) if at is None else at
        if at < self.oldest - 1:
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, "no longer kept")
        yield pb.WatchEventsResponse(heartbeat=pb.Heartbeat(cursor=str(at)))
        while True:
            grown = self._grown
            while at < len(self.events):
                at += 1
                yield pb.WatchEventsResponse(event=self.events[at - 1], replayed=at <= newest)
            await grown.wait()


class Process:
    """One gateway_svc process on ports of its own."""

    def __init__(self, folder: Path, name: str, **settings: str) -> None:
        self.port = free_port()
        self._log = folder / f"{name}.log"
        base = {"PORT": str(self.port), "METRICS_PORT": "0", "LEASE_S": "1", "FIRST_PAUSE_S": "0.05"}
        settings = {**base, "LONGEST_PAUSE_S": "0.2", **settings}
        self._environ = {
            **os.environ,
            "DOOR_SECRET": SECRET,
            **{f"TESSERA_GATEWAY_{key}": value for key, value in settings.items()},
        }
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "gateway_svc"]
            self.child = subprocess.Popen(command, env=self._environ, stderr=log, stdout=log)

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()
        self.child.wait(LIMIT_S)

    def terminate(self) -> int:
        assert self.child is not None
        self.child.terminate()
        return self.child.wait(LIMIT_S)

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    async def is_ready(self) -> bool:
        async with open_channel(f"127.0.0.1:{self.port}") as channel:
            try:
                stub = health_pb2_grpc.HealthStub(channel)
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
            except grpc.RpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A store that answers only what is on disk, as `tessera up` runs it."""
    with forcing_server(tmp_path_factory.mktemp("valkey")) as server:
        yield server


class House:
    """A gallery, a receiver, and gateways between them."""

    def __init__(self, gallery: FakeGallery, receiver: Receiver, settings: dict[str, str], folder: Path) -> None:
        self.gallery = gallery
        self.receiver = receiver
        self._settings = settings
        self._folder = folder
        self._number = 0

    @contextmanager
    def gateway(self, **settings: str) -> Iterator[Process]:
        """A gateway that runs until the end of the block, or until it is killed."""
        self._number += 1
        process = Process(self._folder, f"gateway-{self._number}", **{**self._settings, **settings})
        process.start()
        try:
            yield process
        finally:
            if process.child is not None and process.child.poll() is None:
                process.kill()

    async def came(self, *alert_ids: str) -> None:
        """Wait until the receiver was told of all of these."""
        wanted = {f"{alert_id}/1/door" for alert_id in alert_ids}

        async def all_of_them() -> bool:
            return wanted <= set(self.receiver.keys)

        await eventually(all_of_them, LIMIT_S)


@pytest.fixture
async def house(valkey: PrivateServer, tmp_path: Path) -> AsyncIterator[House]:
    """Everything but the gateway."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    async with running_receiver() as receiver, serving(FakeGallery()) as (gallery, address):
        targets = tmp_path / "targets.yaml"
        targets.write_text(
            f"targets: [{{name: door, type: webhook, url: '{receiver.url}', secret: '${{DOOR_SECRET}}'}}]"
        )
        settings = {
            "GALLERY_ADDRESS": address,
            "STORE_URL": valkey.url,
            "TARGETS": str(targets),
            "ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        yield House(gallery, receiver, settings, tmp_path)


@asynccontextmanager
async def serving(gallery: FakeGallery) -> AsyncIterator[tuple[FakeGallery, str]]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    events_pb2_grpc.add_EventServiceServicer_to_server(gallery, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield gallery, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_an_alert_reaches_its_receiver_signed(house: House) -> None:
    """Only what is told from the first start on; and the library finds it genuine."""
    checking = WebhookReceiver(SECRET)
    house.gallery.tell("before")
    with house.gateway() as gateway:
        await eventually(gateway.is_ready, LIMIT_S)
        house.gallery.tell("now")
        await house.came("now")
        (request,) = house.receiver.requests
        with checking.receive(request.headers, request.body) as told:
            assert told.may_act
            assert (told.alert["rule_id"], told.alert["severity"], told.camera_id) == ("strangers", "CRITICAL", "yard")
        assert list(house.gallery.watches[0].kinds) == [pb.EVENT_KIND_ALERT]
        assert gateway.terminate() == 0


async def test_a_killed_gateway_goes_on_where_it_was(house: House) -> None:
    """What was recorded while it was away comes, and what was being sent comes again under its key."""
    with house.gateway() as gateway:
        await eventually(gateway.is_ready, LIMIT_S)
        house.receiver.may_answer.clear()
        house.gallery.tell("a")
        await house.came("a")
        gateway.kill()
    house.gallery.tell("b")
    house.receiver.may_answer.set()
    with house.gateway() as gateway:
        await house.came("b")

        async def came_again() -> bool:
            return house.receiver.keys.count("a/1/door") >= 2

        await eventually(came_again, LIMIT_S)
        assert gateway.terminate() == 0


async def test_one_of_two_gateways_works_and_the_other_follows_it(house: House) -> None:
    """Both are ready; the second takes the lease when the first is killed."""
    with ExitStack() as stack:
        first = stack.enter_context(house.gateway(LEASE_S="4"))
        await eventually(first.is_ready, LIMIT_S)
        second = stack.enter_context(house.gateway(LEASE_S="4"))
        await eventually(second.is_ready, LIMIT_S)
        house.gallery.tell("a")
        await house.came("a")
        assert len(house.gallery.watches) == 1
        first.kill()
        house.gallery.tell("b")
        await house.came("b")
        assert set(house.receiver.keys) == {"a/1/door", "b/1/door"}
        assert "lease.taken" in second.log


async def test_events_that_are_gone_are_told_as_a_gap(house: House) -> None:
    """The gateway goes on with the oldest that is kept, and says in its log that some were missed."""
    with house.gateway() as gateway:
        await eventually(gateway.is_ready, LIMIT_S)
        house.gallery.tell("a")
        await house.came("a")
        gateway.terminate()
    for name in ("lost", "kept"):
        house.gallery.tell(name)
    house.gallery.oldest = 3
    with house.gateway() as gateway:
        await house.came("kept")
        assert house.receiver.keys == ["a/1/door", "kept/1/door"]
        assert "events.gap" in gateway.log


async def test_a_person_looks_after_what_never_reached_its_receiver(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tessera notifications`: targets, a test, dead letters, and sending them again, marked."""
    with house.gateway() as gateway:
        await eventually(gateway.is_ready, LIMIT_S)

        async def run(*words: str) -> tuple[int, dict[str, Any]]:
            arguments = ["notifications", *words, "--json", f"--gateway=127.0.0.1:{gateway.port}"]
            code = await asyncio.to_thread(main, arguments)
            out = capsys.readouterr().out
            return code, json.loads(out) if out else {}

        _, told = await run("targets")
        assert [(one["name"], one["type"], one["waiting"]) for one in told["targets"]] == [("door", "webhook", 0)]
        code, told = await run("test", "door")
        assert (code, told["delivered"]) == (0, True)
        assert house.receiver.requests[-1].content["test"]
        house.receiver.answers.append(400)
        code, told = await run("test", "door")
        assert (code, told["detail"]) == (4, "answered 400")
        assert (await run("test", "gate"))[0] == 3

        house.gallery.tell("over", valid_s=-1.0)
        house.receiver.answers.append(400)
        house.gallery.tell("refused")
        dead: dict[str, Any] = {}

        async def both_are_dead() -> bool:
            nonlocal dead
            _, dead = await run("dead")
            return dead["total"] == 2

        await eventually(both_are_dead, LIMIT_S)
        assert {one["key"]: one["reason"] for one in dead["letters"]} == {
            "over/1/door": "EXPIRED",
            "refused/1/door": "REFUSED",
        }
        _, told = await run("dead", "--reason", "expired", "--target", "door")
        assert [one["key"] for one in told["letters"]] == ["over/1/door"]
        assert (await run("replay"))[0] == 3
        assert (await run("replay", "over/1/door"))[1] == {"replayed": 1}
        await house.came("over")
        request = next(one for one in house.receiver.requests if one.key == "over/1/door")
        assert (request.content["replayed"], request.content["late"]) == (True, True)
        assert (await run("replay", "--target", "door"))[1] == {"replayed": 1}
        assert (await run("replay", "--target", "door"))[1] == {"replayed": 0}


async def test_a_store_that_is_away_is_waited_for(house: House, valkey: PrivateServer) -> None:
    """Not ready meanwhile; nothing that was recorded while it was away is missed."""
    with house.gateway() as gateway:
        await eventually(gateway.is_ready, LIMIT_S)
        valkey.kill()

        async def is_not_ready() -> bool:
            return not await gateway.is_ready()

        await eventually(is_not_ready, LIMIT_S)
        house.gallery.tell("a")
        valkey.start()
        await house.came("a")
        await eventually(gateway.is_ready, LIMIT_S)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"TARGETS": "/nowhere/targets.yaml"}, "/nowhere/targets.yaml"),
        ({"ALLOWED_NETWORKS": "10.1.0.1/16"}, "TESSERA_GATEWAY_ALLOWED_NETWORKS"),
        ({"LEASE_S": "0"}, "TESSERA_GATEWAY_LEASE_S"),
        ({"LEASES": "0"}, "TESSERA_GATEWAY_LEASES"),
    ],
    ids=["no file", "a network with host bits", "no lease", "an unknown setting"],
)
def test_a_wrong_setting_is_named(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    """In one line, with exit code 3."""
    process = Process(tmp_path, "refused", STORE_URL="memory", **settings)
    process.start()
    assert process.child is not None
    assert process.child.wait(LIMIT_S) == 3
    assert named in process.log
    assert "Traceback" not in process.log
