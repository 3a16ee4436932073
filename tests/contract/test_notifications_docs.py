"""The receivers in docs/notifications.md, run as they stand there, against the gateway's own webhooks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from gateway_svc.delivering import DeliveryError
from gateway_svc.messages import Message
from gateway_svc.networks import Allowed, parse_networks
from gateway_svc.targets import Webhook
from gateway_svc.webhook import WebhookDeliverer
from tessera.chassis.ports import free_port
from tessera.chassis.settings import Secret
from tests.eventually import eventually
from tests.gateway_world import SECRET, Request, alert, running_receiver

PAGE = Path(__file__).parents[2] / "docs" / "notifications.md"
INSIDE = Allowed(parse_networks("networks", "127.0.0.0/8"))


def examples() -> list[str]:
    """The receivers of the page, in its order."""
    found = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [block for block in found if "serve_forever" in block]


@dataclass
class Door:
    """A receiver of the page, as a process."""

    port: int
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def opened(self) -> int:
        """How often it opened."""
        return self.output.read_text(encoding="utf-8").count("open the door")

    async def post(self, request: Request) -> int:
        """Send the very bytes of a request."""
        headers = {name: value for name, value in request.headers.items() if name not in {"Host", "Content-Length"}}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url, data=request.body, headers=headers) as answer,
        ):
            return answer.status


@pytest.fixture(params=[0, 1], ids=["with the library", "from the words alone"])
def code(request: pytest.FixtureRequest) -> str:
    """One of the page's receivers."""
    return examples()[request.param]


@pytest.fixture
def started(code: str, tmp_path: Path) -> Iterator[Door]:
    """It runs until the end of the test."""
    port, output = free_port(), tmp_path / "door.txt"
    environ = {**os.environ, "PORT": str(port), "DOOR_SECRET": SECRET}
    with output.open("wb") as written:
        process = subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=written, stderr=written)
    yield Door(port, process, output)
    process.kill()
    process.wait(20)


@pytest.fixture
async def door(started: Door) -> Door:
    """It listens."""

    async def listens() -> bool:
        assert started.process.poll() is None, started.output.read_text()
        try:
            return await started.post(Request("/", {}, b"")) == 401
        except aiohttp.ClientError:
            return False

    await eventually(listens)
    return started


staff_at_the_door = partial(alert, rule_id="staff-at-the-door")


def message(valid_s: float = 600.0, **fields: bool) -> Message:
    """Of an alert that holds from now on."""
    now = datetime.now(UTC)
    return Message("a1/1/door", "door", staff_at_the_door(at=now, valid_s=valid_s), now, **fields)


async def signed(told: Message) -> Request:
    """What the gateway sends, as a receiver that anybody could overhear gets it."""
    async with running_receiver() as receiver:
        deliverer = WebhookDeliverer(Webhook(receiver.url, (Secret(SECRET),)), INSIDE, 10.0)
        await deliverer.deliver(told)
        await deliverer.close()
        return receiver.requests[0]


def test_the_page_has_both_receivers() -> None:
    """One with the library, one without; the first in ten lines, counted from the request to the answer."""
    with_library, alone = examples()
    assert "tessera" not in alone.replace("Tessera-", "").lower()
    handler = with_library.partition("def do_POST")[2].partition("HTTPServer")[0].strip().splitlines()
    assert len(handler) <= 11


async def test_a_door_opens_once_for_what_is_genuine(door: Door) -> None:
    """The gateway's own delivery is taken; another attempt of it opens nothing."""
    deliverer = WebhookDeliverer(Webhook(door.url, (Secret(SECRET),)), INSIDE, 10.0)
    for _ in range(2):
        await deliverer.deliver(message())
    await deliverer.close()
    assert door.opened == 1


async def test_what_became_of_an_alert_opens_nothing(door: Door) -> None:
    """Somebody acknowledged it, and resolved it: both are taken, and the door stays as it is."""
    now = datetime.now(UTC)
    for number, change in ((2, "ACKNOWLEDGED"), (3, "RESOLVED")):
        told = staff_at_the_door(revision=number, at=now, valid_s=600.0, change=change)
        assert await door.post(await signed(Message(f"a1/{number}/door", "door", told, now))) == 204
    assert door.opened == 0


async def test_another_rules_alert_opens_nothing(door: Door) -> None:
    """Whoever else is told of at this address: it is taken, and the door stays as it is."""
    now = datetime.now(UTC)
    request = await signed(Message("a1/1/door", "door", alert(at=now, valid_s=600.0), now))
    assert await door.post(request) == 204
    assert door.opened == 0


async def test_a_replayed_message_opens_nothing(door: Door) -> None:
    """The very same bytes a second time."""
    request = await signed(message())
    assert await door.post(request) == 204
    assert await door.post(request) == 409
    assert door.opened == 1


async def test_an_altered_message_opens_nothing(door: Door) -> None:
    """Whichever part of it was changed."""
    request = await signed(message())
    later = f"{datetime.now(UTC).timestamp() + 1:.3f}"
    changes = [Request("/", request.headers, request.body.replace(b"yard", b"door"))]
    for name, value in (("Tessera-Nonce", "n"), ("Tessera-Timestamp", later), ("Tessera-Signature", "v1=0")):
        changes.append(Request("/", {**request.headers, name: value}, request.body))
    assert [await door.post(change) for change in changes] == [401] * 4
    assert door.opened == 0


async def test_a_late_event_opens_nothing(door: Door) -> None:
    """One that no longer holds, one that says so, one that a person sent again, and one that was overheard long ago."""
    deliverer = WebhookDeliverer(Webhook(door.url, (Secret(SECRET),)), INSIDE, 10.0)
    for told in (message(valid_s=0.0), message(late=True), message(replayed=True)):
        with pytest.raises(DeliveryError, match="410"):
            await deliverer.deliver(told)
    old = datetime.now(UTC) - timedelta(hours=1)
    with pytest.raises(DeliveryError, match="409"):
        await deliverer.deliver(Message("a1/1/door", "door", staff_at_the_door(at=old, valid_s=86_400), old))
    await deliverer.close()
    assert door.opened == 0
