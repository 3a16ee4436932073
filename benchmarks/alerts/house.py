"""What the outbox's benchmark stands between: an event log over gRPC, and a receiver over HTTP that may kill."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from aiohttp import web

from tessera.client import wire
from tessera.client.webhooks import WebhookReceiver, WebhookRejected
from tessera.v1 import events_pb2 as pb
from tessera.v1 import events_pb2_grpc

SECRET = "a-secret-of-the-benchmark-alone"  # noqa: S105 - it opens no door


class EventLog(events_pb2_grpc.EventServiceServicer):
    """Alerts, told in order from any cursor on."""

    def __init__(self) -> None:
        self.events: list[pb.Event] = []
        self._grown = asyncio.Event()

    def tell(self, alert_id: str, revision: int = 1, valid_s: float = 3600.0) -> str:
        """Record a revision of an alert; returns the key that its notification has."""
        now = datetime.now(UTC)
        alert = pb.Alert(alert_id=alert_id, rule_id="strangers", severity=pb.SEVERITY_CRITICAL, summary="somebody")
        alert.state = pb.ALERT_STATE_OPEN
        event = pb.Event(
            event_id=f"alert-{alert_id}",
            revision=revision,
            cursor=str(len(self.events) + 1),
            event_time=wire.time_to_wire(now),
            recorded_at=wire.time_to_wire(now),
            valid_until=wire.time_to_wire(now + timedelta(seconds=valid_s)),
            camera_id="yard",
            alert=alert,
        )
        self.events.append(event)
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
        return f"{alert_id}/{revision}/door"

    async def WatchEvents(  # noqa: N802 - gRPC's name
        self, request: pb.WatchEventsRequest, _: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        """Events from a cursor on."""
        at = int(request.after_cursor) if request.after_cursor else len(self.events)
        yield pb.WatchEventsResponse(heartbeat=pb.Heartbeat(cursor=str(at)))
        while True:
            grown = self._grown
            while at < len(self.events):
                at += 1
                yield pb.WatchEventsResponse(event=self.events[at - 1])
            await grown.wait()


@dataclass
class Receiver:
    """Checks what comes with the receiver library, and keeps its keys in the order in which they came."""

    port: int = 0
    keys: list[str] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    answers: deque[int] = field(default_factory=deque)
    """Statuses of the next answers; then 204. What is answered otherwise has not come."""
    is_away: bool = False
    """Answer 503 to everything."""
    attempts: int = 0
    kills: int = 0
    """The process that is killed when the next request has come, before its answer."""
    checking: WebhookReceiver = field(default_factory=lambda: WebhookReceiver(SECRET))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/"

    async def handle(self, request: web.Request) -> web.Response:
        """One request."""
        body = await request.read()
        self.attempts += 1
        status = 503 if self.is_away else self.answers.popleft() if self.answers else 204
        if status >= 300:
            return web.Response(status=status)
        try:
            with self.checking.receive(request.headers, body) as told:
                self.keys.append(told.key)
        except WebhookRejected as rejection:
            self.rejected[rejection.reason] += 1
            return web.Response(status=rejection.status)
        if self.kills:
            os.kill(self.kills, signal.SIGKILL)
            self.kills = 0
        return web.Response(status=status)


@asynccontextmanager
async def running_log() -> AsyncIterator[tuple[EventLog, str]]:
    """An event log that listens; gives its address as well."""
    log = EventLog()  # type: ignore[abstract]  # the rest is answered as unimplemented
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    events_pb2_grpc.add_EventServiceServicer_to_server(log, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield log, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def running_receiver() -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()
