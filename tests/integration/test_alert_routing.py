"""Who is told of which alert: by the routing of `deploy/alertmanager`, on its own tool and on a real Alertmanager."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml

from tessera.chassis.ports import free_port
from tests.eventually import eventually
from tests.gateway_world import running_receiver
from tests.unit.deploy.rule_files import DEPLOY, Rule, rules

CONFIG = DEPLOY / "alertmanager" / "alertmanager.yml"
AMTOOL = shutil.which("amtool")
BINARY = shutil.which("prometheus-alertmanager")
ALERTS = [rule for rule in rules() if rule.is_alert]
RECEIVERS = {"page": "on-call", "ticket": "tickets"}
needs_amtool = pytest.mark.skipif(AMTOOL is None, reason="amtool is not installed: the routing stays unproved")
needs_alertmanager = pytest.mark.skipif(
    BINARY is None, reason="prometheus-alertmanager is not installed: that consequences are held back stays unproved"
)


def amtool(*arguments: str) -> str:
    done = subprocess.run([str(AMTOOL), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_amtool
def test_the_configuration_is_sound() -> None:
    """`amtool check-config` takes it."""
    assert "SUCCESS" in amtool("check-config", str(CONFIG))


@needs_amtool
@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_alert_reaches_who_its_severity_says(alert: Rule) -> None:
    """Pages reach whoever is on call, tickets the pile."""
    severity = alert.labels["severity"]
    told = amtool(
        "config", "routes", "test", f"--config.file={CONFIG}", f"severity={severity}", f"alertname={alert.name}"
    )
    assert told.split() == [RECEIVERS[severity]]


def test_what_is_held_back_is_an_alert_that_there_is() -> None:
    """Every name that an inhibition gives is that of a rule, and no alert holds itself back."""
    names = {alert.name for alert in ALERTS}
    for inhibition in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]:
        sources, targets = _named(inhibition["source_matchers"], names), _named(inhibition["target_matchers"], names)
        assert sources
        assert targets
        assert not sources & targets


@needs_alertmanager
async def test_consequences_are_held_back_and_cameras_come_together(tmp_path: Path) -> None:
    """Of a dead encoder, its readiness and frames left out one page tells; two frozen cameras are one page with both;
    what a camera shows while it is frozen, and a small certificate alert beside a large one, are held back."""
    async with running_receiver() as receiver, alertmanager(tmp_path, receiver.port) as url:
        await post(
            url,
            ("ServiceDown", "page", {"job": "encoder", "instance": "e1"}),
            ("ServiceNotReady", "page", {"job": "encoder", "instance": "e1"}),
            ("FramesLeftOut", "ticket", {"camera": "yard"}),
            ("CameraFrozen", "page", {"camera": "door"}),
            ("CameraFrozen", "page", {"camera": "yard"}),
            ("CameraTampered", "page", {"camera": "door"}),
            ("CameraTampered", "page", {"camera": "gate"}),
            ("CertificateExpiresSoon", "page", {"node": "n"}),
            ("CertificateExpires", "ticket", {"node": "n"}),
            ("DeadLetters", "ticket", {}),
        )

        async def told() -> bool:
            return sum(len(json.loads(one.body)["alerts"]) for one in receiver.requests) >= 6

        await eventually(told)
        found = await states(url)
        assert {name for name, state in found.items() if state == "suppressed"} == {
            "ServiceNotReady",
            "FramesLeftOut/yard",
            "CameraTampered/door",
            "CertificateExpires",
        }
        groups = [
            (one.path, *(alert["labels"]["alertname"] for alert in json.loads(one.body)["alerts"]))
            for one in receiver.requests
        ]
        assert sorted(groups) == [
            ("/on-call", "CameraFrozen", "CameraFrozen"),
            ("/on-call", "CameraTampered"),
            ("/on-call", "CertificateExpiresSoon"),
            ("/on-call", "ServiceDown"),
            ("/tickets", "DeadLetters"),
        ]


@asynccontextmanager
async def alertmanager(folder: Path, receiver_port: int) -> AsyncIterator[str]:
    """A real one with the deployed routing, with its webhooks turned here and its waits shortened; gives its URL."""
    config = yaml.safe_load(CONFIG.read_text().replace("127.0.0.1:9095", f"127.0.0.1:{receiver_port}"))
    for route in (config["route"], *config["route"]["routes"]):
        route["group_wait"] = "1s"
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        str(BINARY),
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:

        async def is_ready() -> bool:
            try:
                async with aiohttp.ClientSession() as session, session.get(f"{url}/-/ready") as answer:
                    return answer.status == 200
            except (aiohttp.ClientError, OSError):
                return False

        await eventually(is_ready)
        yield url
    finally:
        process.kill()
        await process.wait()


async def post(url: str, *alerts: tuple[str, str, dict[str, str]]) -> None:
    """Fire all of them at once."""
    bodies = [{"labels": {"alertname": name, "severity": severity, **labels}} for name, severity, labels in alerts]
    async with aiohttp.ClientSession() as session, session.post(f"{url}/api/v2/alerts", json=bodies) as answer:
        answer.raise_for_status()


async def states(url: str) -> dict[str, str]:
    """`active` or `suppressed`, by the alert's name and camera."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v2/alerts") as answer:
        found = await answer.json()
    return {
        "/".join(filter(None, (one["labels"]["alertname"], one["labels"].get("camera")))): one["status"]["state"]
        for one in found
    }


def _named(matchers: list[str], names: set[str]) -> set[str]:
    [pattern] = [matcher.partition("=")[2].lstrip("~ ").strip('" ') for matcher in matchers if "alertname" in matcher]
    found = {name for name in names if re.fullmatch(pattern, name)}
    assert all(any(re.fullmatch(part, name) for name in names) for part in pattern.split("|")), pattern
    return found
