"""What tests of the gateway share: an event log by hand, a real HTTP receiver, and happenings."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from gateway_svc.following import EventsGoneError, Told
from gateway_svc.happenings import Happening, Kind
from gateway_svc.notifications import Notification
from gateway_svc.targets import Target, Webhook
from tessera.chassis.settings import Secret

SECRET = "a-secret-of-a-door-that-nobody-knows"  # noqa: S105 - it opens no door
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def alert(
    alert_id: str = "a1",
    revision: int = 1,
    at: datetime = START,
    *,
    valid_s: float = 60.0,
    severity: str = "WARNING",
    state: str = "OPEN",
    change: str = "OPENED",
    rule_id: str = "strangers",
) -> Happening:
    """An alert, on the camera `yard`."""
    facts = {
        "alert_id": alert_id,
        "rule_id": rule_id,
        "severity": severity,
        "state": state,
        "change": change,
        "summary": "a stranger",
    }
    return Happening(
        kind=Kind.ALERT,
        event_id=f"alert-{alert_id}",
        revision=revision,
        event_time=at,
        recorded_at=at,
        valid_until=at + timedelta(seconds=valid_s),
        camera_id="yard",
        facts=facts,
    )


def owed(happening: Happening, target: str = "door") -> Notification:
    """What a target is owed because of it."""
    return Notification(target, happening, happening.recorded_at)


class EventLogByHand:
    """An event log that a test writes to."""

    def __init__(self) -> None:
        self.told: list[Happening] = []
        self.oldest = 1
        self.watches: list[str] = []
        self.kinds: list[Collection[Kind]] = []
        self._grown = asyncio.Event()

    def tell(self, happening: Happening) -> None:
        """Write an event."""
        self.told.append(happening)
        self._grown.set()
        self._grown = asyncio.Event()

    async def watch(self, after_cursor: str, kinds: Collection[Kind]) -> AsyncGenerator[Told, None]:
        """Events from a cursor on."""
        self.watches.append(after_cursor)
        self.kinds.append(kinds)
        at = int(after_cursor) if after_cursor else len(self.told)
        if after_cursor == "0":
            at = self.oldest - 1
        if at < self.oldest - 1:
            raise EventsGoneError(after_cursor, f"events before {self.oldest} are gone")
        yield Told(str(at), None)
        while True:
            grown = self._grown
            while at < len(self.told):
                at += 1
                yield Told(str(at), self.told[at - 1])
            await grown.wait()


@dataclass(frozen=True, slots=True)
class Request:
    """What a receiver was sent."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def key(self) -> str:
        return self.headers["Idempotency-Key"]


@dataclass
class Receiver:
    """A real HTTP server that answers what it is told to."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    answers: deque[int] = field(default_factory=deque)
    """The statuses of the next answers; then 204."""
    headers: dict[str, str] = field(default_factory=dict)
    """Of its answers."""
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def keys(self) -> list[str]:
        return [request.key for request in self.requests]

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(Request(request.path, dict(request.headers), await request.read()))
        self.came.set()
        await self.may_answer.wait()
        status = self.answers.popleft() if self.answers else 204
        return web.Response(status=status, headers=self.headers)


@asynccontextmanager
async def running_receiver() -> AsyncIterator[Receiver]:
    """A receiver that takes everything, until the end of the block."""
    receiver = Receiver()
    receiver.may_answer.set()
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        receiver.may_answer.set()
        await runner.cleanup()


def webhook_target(url: str, name: str = "door", **fields: Any) -> Target:
    """A target that is told by webhook."""
    return Target(name, Webhook(url, (Secret(SECRET),)), **fields)
