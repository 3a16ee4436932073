"""Alertmanager targets: on a real Alertmanager where Debian's is installed, and on a server that answers as it may."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway_svc.alertmanager import AlertmanagerDeliverer, posted
from gateway_svc.delivering import DeliveryError, DeliveryRefusedError
from gateway_svc.happenings import Happening, Kind
from gateway_svc.messages import Message, stamp
from gateway_svc.targets import Alertmanager
from tessera.chassis.ports import free_port
from tests.eventually import eventually
from tests.gateway_world import START, alert, running_receiver

BINARY = shutil.which("prometheus-alertmanager")
LIMIT_S = 40.0


def message(happening: Happening, at: datetime = START, **fields: Any) -> Message:
    return Message(f"{happening.incident}/{happening.revision}/am", "am", happening, at, **fields)


@asynccontextmanager
async def deliverer_to(url: str) -> AsyncIterator[AlertmanagerDeliverer]:
    made = AlertmanagerDeliverer(Alertmanager(url), 10.0)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def running_alertmanager(folder: Path) -> AsyncIterator[str]:
    """A real one; gives its URL."""
    port, config = free_port(), folder / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    command = [
        str(BINARY),
        f"--config.file={config}",
        f"--storage.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: ASYNC220 - it starts at once
    try:

        async def is_ready() -> bool:
            assert process.poll() is None, (folder / "alertmanager.log").read_text()
            try:
                return bool(await asked(f"http://127.0.0.1:{port}/api/v2/status"))
            except (aiohttp.ClientError, OSError):
                return False

        await eventually(is_ready)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(LIMIT_S)


async def asked(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        answer.raise_for_status()
        return await answer.json()


@pytest.mark.skipif(
    BINARY is None, reason="prometheus-alertmanager is not installed: that it takes our alerts as one stays unproved"
)
async def test_one_incident_is_one_alert_there_until_it_is_resolved(tmp_path: Path) -> None:
    """Its revisions change it, and its end ends it; what came late changes nothing but its end."""
    now = datetime.now(UTC)
    async with running_alertmanager(tmp_path) as url, deliverer_to(url) as deliverer:
        await deliverer.deliver(message(alert(at=now), now))
        await deliverer.deliver(message(alert(revision=2, at=now, state="ACKNOWLEDGED"), now))
        (there,) = await asked(f"{url}/api/v2/alerts")
        assert there["labels"] == {
            "alertname": "strangers",
            "alert_id": "a1",
            "camera": "yard",
            "severity": "warning",
            "source": "tessera",
        }
        assert there["annotations"]["state"] == "ACKNOWLEDGED"
        assert there["status"]["state"] == "active"
        await deliverer.tell_state(message(alert("a2", at=now), now))
        await deliverer.tell_state(message(alert(revision=3, at=now, state="RESOLVED"), now, late=True))

        async def is_over() -> bool:
            return await asked(f"{url}/api/v2/alerts") == []

        await eventually(is_over)


def test_an_alert_starts_when_it_was_opened_and_ends_when_it_was_resolved() -> None:
    """However late it is told; and one that nobody resolves ends by itself."""
    later = START + timedelta(hours=1)
    happening = alert(state="OPEN", at=START)
    opened = posted(message(happening, later), 7200.0)
    assert (opened["startsAt"], opened["endsAt"]) == (stamp(START), stamp(later + timedelta(hours=2)))
    resolved = posted(message(alert(state="RESOLVED", revision=2, at=START), later), 7200.0)
    assert resolved["labels"] == opened["labels"]
    assert datetime.fromisoformat(str(resolved["endsAt"])) <= later


async def test_its_answers_decide_what_comes_next() -> None:
    """A bad alert is never taken; a server that is away or being set up may be later."""
    async with running_receiver() as receiver, deliverer_to(f"http://127.0.0.1:{receiver.port}/am/") as deliverer:
        await deliverer.deliver(message(alert()))
        assert receiver.requests[0].path == "/am/api/v2/alerts"
        assert json.loads(receiver.requests[0].body)[0]["labels"]["alert_id"] == "a1"
        for status, kind in ((400, DeliveryRefusedError), (302, DeliveryRefusedError), (503, DeliveryError)):
            receiver.answers.append(status)
            with pytest.raises(kind, match=str(status)):
                await deliverer.deliver(message(alert()))
    async with deliverer_to(f"http://127.0.0.1:{free_port()}") as deliverer:
        with pytest.raises(DeliveryError, match="no answer"):
            await deliverer.deliver(message(alert()))


def test_a_test_is_an_alert_of_its_own_name() -> None:
    """Nobody takes it for one of a rule."""
    now = START
    happening = Happening(Kind.TEST, "test:1", 1, now, now, now + timedelta(seconds=60), "", {"summary": "a test"})
    told = posted(message(happening), 60.0)
    assert told["labels"] == {"alertname": "TesseraTest", "alert_id": "test:1", "severity": "none", "source": "tessera"}
