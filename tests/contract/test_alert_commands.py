"""`tessera rules` and `tessera alerts` over a real gallery, and `rules test` on what `tessera watch --json` printed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tessera.cli.__main__ import main
from tests.alert_sightings import enroll_two, see
from tests.eventually import eventually
from tests.gallery_world import World, embedded, person, running_world, verify

Run = Callable[..., Awaitable[tuple[int, str, str]]]

RULES = """
- rule_id: list
  kind: WATCHLIST
  severity: CRITICAL
  labels: [banned]
- rule_id: guessing
  kind: FAILED_VERIFIES
  count: 2
  schedule: {time_zone: Europe/Berlin, hours: [{start: 00:00, end: 24:00}]}
"""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A gallery in memory whose logs do not mix with what a command prints; Ada is banned, Bob is not."""
    with capture_logs():
        async with running_world("memory") as running:
            await eventually(running.is_ready)
            await enroll_two(running)
            yield running


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command against the gallery; gives its exit code, what it printed, and what it complained of."""
    monkeypatch.setenv("TESSERA_GALLERY", f"127.0.0.1:{world.gallery.server.port}")

    async def command(*arguments: object) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, [str(argument) for argument in arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return command


@pytest.fixture
def rule_file(tmp_path: Path) -> Path:
    """Two rules."""
    path = tmp_path / "rules.yaml"
    path.write_text(RULES, encoding="utf-8")
    return path


async def test_from_a_rule_file_to_an_alert_that_is_resolved(world: World, run: Run, rule_file: Path) -> None:
    """Put, list, show; an alert is listed, shown, acknowledged and resolved by name; the rule goes."""
    _, told, _ = await run("alerts", "list")
    assert "No alerts" in told
    code, told, _ = await run("rules", "put", rule_file, "--as", "eva")
    assert (code, len(told.splitlines())) == (0, 2)
    _, told, _ = await run("rules", "show", "guessing")
    assert "by eva" in told
    assert "end: '24:00'" in told
    await see(world, "t1", 0)

    async def listed() -> str:
        return (await run("alerts", "list", "--state", "open", "--severity", "critical"))[1]

    await eventually(lambda: _has(listed, "Ada"))
    line = await listed()
    assert "CRITICAL OPEN" in line
    alert_id = line.split()[-1]
    _, told, _ = await run("alerts", "show", alert_id)
    assert "somebody on the list (banned) was seen at gate" in told
    code, told, _ = await run("alerts", "ack", alert_id, "--as", "eva", "--comment", "on my way")
    assert (code, "by eva: on my way" in told) == (0, True)
    code, told, _ = await run("alerts", "resolve", alert_id, "--as", "bo", "--json")
    assert (code, json.loads(told)["state"]) == (0, "RESOLVED")
    code, _, complaint = await run("alerts", "ack", alert_id, "--as", "cy")
    assert (code, "ALERT_RESOLVED" in complaint or "resolved" in complaint) == (3, True)
    code, told, _ = await run("alerts", "watch", "--after", "0", "--count", "3")
    assert [each.split()[1] for each in told.splitlines()] == ["OPENED", "ACKNOWLEDGED", "RESOLVED"]
    await run("rules", "delete", "list", "--as", "eva")
    _, told, _ = await run("rules", "list", "--json")
    assert [each["rule"]["rule_id"] for each in json.loads(told)["rules"]] == ["guessing"]


async def _has(listed: Callable[[], Awaitable[str]], text: str) -> bool:
    return text in await listed()


async def test_rules_are_tried_on_what_was_recorded(world: World, run: Run, rule_file: Path, tmp_path: Path) -> None:
    """The lines of `tessera watch --json` say to `rules test` what the gallery's own log says to it."""
    await see(world, "t1", 0)
    await see(world, "t2", 9)
    for number in (8, 9):
        await verify(world, "bob", embedded(person(number)))
    _, lines, _ = await run("watch", "--json", "--from-oldest", "--count", "4")
    recorded = tmp_path / "events.jsonl"
    recorded.write_text(lines, encoding="utf-8")
    _, offline, _ = await run("rules", "test", rule_file, "--events", recorded, "--json")
    _, online, _ = await run("rules", "test", rule_file, "--json")
    here, there = json.loads(offline), json.loads(online)
    assert [alert["rule_id"] for alert in here["alerts"]] == ["list", "guessing"]
    for alert in (*here["alerts"], *there["alerts"]):
        del alert["subjects"]  # names are the gallery's to tell
    assert here == there
    _, told, _ = await run("rules", "test", rule_file, "--events", recorded, "--until", "2020-01-01")
    assert told == "0 alerts, 0 messages from 0 events.\n"
    _, told, _ = await run("rules", "test", rule_file, "--events", recorded)
    assert "2 alerts, 2 messages from 4 events." in told
    assert "2 claims failed within 10 min" in told
    _, told, _ = await run("alerts", "list", "--json")
    assert json.loads(told) == {"alerts": []}


async def test_a_line_that_is_no_event_is_named(run: Run, rule_file: Path, tmp_path: Path) -> None:
    """With its number: a file of a thousand lines is not looked through by hand."""
    recorded = tmp_path / "events.jsonl"
    recorded.write_text('\n{"event_id": "a"}\n{"sighting": 7}\n', encoding="utf-8")
    code, _, complaint = await run("rules", "test", rule_file, "--events", recorded)
    assert code == 3
    assert "line 3" in complaint
