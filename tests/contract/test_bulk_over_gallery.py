"""Bulk enrolment into a real gallery over real gRPC: what it relies on holds there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tessera.client import Tessera
from tessera.client.bulk import BulkEnrolment, BulkOutcome
from tessera.client.bulk_journal import Journal, SubjectResult, Target
from tessera.client.bulk_people import TesseraPeople
from tessera.client.bulk_sources import read_plan
from tessera.domain.reasons import Reason
from tests.eventually import eventually
from tests.gallery_world import World, person, picture, running_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A gallery that is ready."""
    async with running_world("memory") as running:
        await eventually(running.is_ready)
        yield running


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Ada with two good pictures and a dark one, Bo with a dark one alone."""
    dark = [Reason.LOW_BRIGHTNESS]
    notes = {
        "ada/1.jpg": picture(person(0)),
        "ada/2.jpg": picture(person(0, 0.1)),
        "ada/3.jpg": picture(person(0), reasons=dark),
        "bo/1.jpg": picture(person(5), reasons=dark),
    }
    for name, note in notes.items():
        (tmp_path / "people" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "people" / name).write_bytes(note.data)
    return tmp_path / "people"


async def run(world: World, people: Path, journal: Path) -> tuple[BulkOutcome, dict[str, SubjectResult]]:
    """One run, on a thread of its own as an SDK user would have it."""
    address = f"127.0.0.1:{world.gallery.server.port}"
    results: dict[str, SubjectResult] = {}

    def enrol() -> BulkOutcome:
        with Tessera(address) as tessera, Journal(journal, Target(address, "default")) as done:
            bulk = BulkEnrolment(TesseraPeople(tessera), read_plan(people), done)
            return bulk.run(lambda result: results.update({result.subject_id: result}))

    return await asyncio.to_thread(enrol), results


async def test_pictures_become_templates_once(world: World, people: Path, tmp_path: Path) -> None:
    """Reasons come back for each picture; with the journal gone nothing of Ada is sent again but what was refused."""
    outcome, results = await run(world, people, tmp_path / "first.jsonl")
    assert {name: result.status.value for name, result in results.items()} == {"ada": "enrolled", "bo": "rejected"}
    assert [one.accepted for one in results["ada"].pictures] == [True, True, False]
    assert [one.reasons for one in results["bo"].pictures] == [("LOW_BRIGHTNESS",)]
    assert outcome.pictures_refused == 2

    asked = len(world.encoder.asked)
    _, again = await run(world, people, tmp_path / "second.jsonl")
    assert again["ada"].status.value == "already"
    assert len(world.encoder.asked) == asked + 2
    templates = await templates_of(world, "ada")
    assert templates == 2


async def templates_of(world: World, subject_id: str) -> int:
    """How many the gallery has."""
    address = f"127.0.0.1:{world.gallery.server.port}"

    def ask() -> int:
        with Tessera(address) as tessera:
            return len(tessera.get_subject(subject_id).templates)

    return await asyncio.to_thread(ask)
