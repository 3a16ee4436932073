"""Files and keys of a whole gallery over real gRPC: what was brought in is found, and what is refused says why."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tessera.client.collection_files import CollectionFiles, ImportResult, Rotation, file_facts
from tessera.client.errors import BadInput, NotAllowedNow, NotFound
from tessera.v1 import subject_pb2
from tests.eventually import eventually
from tests.gallery_world import MODEL, World, embedded, enroll, found, person, running_world


@pytest.fixture
async def world(store: str) -> AsyncIterator[World]:
    """A gallery that is ready, over each store, with three people."""
    async with running_world(store) as running:
        await eventually(running.is_ready)
        for number, name in enumerate(("ada", "bob", "eve")):
            await enroll(running, name, embedded(person(number)), display_name=name.title())
        yield running


async def exported(world: World, collection_id: str = "") -> bytes:
    """The file of a collection."""

    def export() -> bytes:
        file = io.BytesIO()
        with CollectionFiles(f"127.0.0.1:{world.gallery.server.port}") as files:
            files.export_to(file, collection_id)
        return file.getvalue()

    return await asyncio.to_thread(export)


async def imported(
    world: World, content: bytes, collection_id: str, erased: dict[str, datetime] | None = None
) -> ImportResult:
    """Import a file."""

    def bring() -> ImportResult:
        with CollectionFiles(f"127.0.0.1:{world.gallery.server.port}") as files:
            return files.import_from(io.BytesIO(content), collection_id, erased=erased)

    return await asyncio.to_thread(bring)


async def test_who_was_brought_in_is_found_at_once(world: World) -> None:
    """By the gallery that answered, without a position; again it is told as done before."""
    content = await exported(world)
    facts = file_facts(io.BytesIO(content))
    assert (facts.collection_id, facts.model_id, facts.subjects, facts.templates) == ("default", MODEL, 3, 3)
    first = await imported(world, content, "copy")
    assert (first.subjects, first.templates, first.left_out, first.replayed) == (3, 3, 0, False)
    assert (await found(world, embedded(person(1)), collection_id="copy"))[0] == "bob"
    request = subject_pb2.GetSubjectRequest(collection_id="copy", subject_id="bob")
    assert (await world.stub.GetSubject(request)).subject.display_name == "Bob"
    assert (await imported(world, content, "copy")).replayed


async def test_the_erased_stay_out(world: World) -> None:
    """Those whom the caller names, when the file has them from before."""
    content = await exported(world)
    late = datetime.now(UTC) + timedelta(hours=1)
    result = await imported(world, content, "copy", {"bob": late, "eve": late - timedelta(days=2)})
    assert (result.subjects, result.left_out) == (2, 1)
    assert "bob" not in await found(world, embedded(person(1)), collection_id="copy")


async def test_refusals_say_why(world: World) -> None:
    """A damaged file, a collection that is not there."""
    content = bytearray(await exported(world))
    content[-50] ^= 1
    with pytest.raises(BadInput, match="frame"):
        await imported(world, bytes(content), "copy")
    with pytest.raises(NotFound):
        await exported(world, "nobody")
    with pytest.raises((BadInput, NotAllowedNow)):
        await imported(world, b"", "copy")


async def test_keys_are_rotated_over_the_wire(world: World) -> None:
    """The last message has the count by key; nothing is sealed in memory."""

    def rotate(*, count_only: bool) -> list[Rotation]:
        with CollectionFiles(f"127.0.0.1:{world.gallery.server.port}") as files:
            return list(files.rotate_keys(count_only=count_only))

    (counted,) = await asyncio.to_thread(rotate, count_only=True)
    last = (await asyncio.to_thread(rotate, count_only=False))[-1]
    assert last.by_key == counted.by_key
    assert sum(last.by_key.values()) == last.done == last.total
    assert last.total in {0, 6}
