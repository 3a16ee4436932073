"""A gallery whose index lies on a Milvus engine: the embedded one, spoken to over its port as a server is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from milvus_lite.adapter.grpc.server import start_server_in_thread  # type: ignore[import-untyped]  # it ships none

from gallery_svc.index.milvus import MilvusIndex
from gallery_svc.index.milvus_engine import EngineAddress, MilvusEngine
from gallery_svc.index.milvus_positions import MilvusPositions
from gallery_svc.rows import RowBatch
from gallery_svc.settings import MilvusKind, SearchEngine
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import collection_pb2, matching_pb2, subject_pb2
from tests.eventually import eventually
from tests.gallery_world import DIMENSIONS, World, embedded, emptied, enroll, identify, refused, running_world, verify
from tests.valkey import PrivateServer, running_server

SHARDS, SUBJECTS = 2, 12


@dataclass
class Engine:
    """An embedded engine on a port."""

    uri: str
    server: Any

    def settings(self, **more: Any) -> dict[str, Any]:
        """Of a gallery that searches on it."""
        return {"index": SearchEngine.MILVUS, "milvus_uri": self.uri, "shards": SHARDS, **more}


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
async def store(valkey: PrivateServer) -> str:
    """An empty store."""
    return await emptied(valkey)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An empty engine."""
    server, database, port = start_server_in_thread(str(tmp_path))
    yield Engine(f"http://127.0.0.1:{port}", server)
    server.stop(None).wait()
    database.close()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many subjects each load wrote to the engine."""
    written: list[int] = []
    load = MilvusIndex.load

    def noted(self: MilvusIndex, batch: RowBatch) -> None:
        written.append(len(batch.subject_ids))
        load(self, batch)

    monkeypatch.setattr(MilvusIndex, "load", noted)
    return written


@pytest.fixture
async def world(store: str, engine: Engine) -> AsyncIterator[World]:
    """A gallery on the engine, with its people."""
    async with running_world(store, **engine.settings()) as running:
        await eventually(running.is_ready)
        await people(running)
        yield running


def vector(number: int) -> list[float]:
    """A person's; every fourth has a double."""
    raw = np.eye(DIMENSIONS)[0] if number % 4 == 0 else np.random.default_rng(number).normal(size=DIMENSIONS)
    return [float(value) for value in raw]


async def people(world: World) -> None:
    """Enrol them."""
    for number in range(SUBJECTS):
        labels = ["day"] if number % 2 else []
        await enroll(world, f"s{number:02}", embedded(vector(number)), display_name=f"N{number}", labels=labels)


def candidates(answer: matching_pb2.IdentifyResponse) -> list[Any]:
    """Who was found, as whom, and how alike."""
    found = answer.identifications[0].candidates
    return [(one.subject_id, one.template_id, one.display_name, one.score) for one in found]


async def test_the_engine_answers_as_the_gallery_s_own_index(world: World, store: str) -> None:
    """The same candidates in the same order with the same scores; and the answer says what it gives up."""
    async with running_world(store) as exact:
        await eventually(exact.is_ready)
        for number in range(SUBJECTS):
            for more in ({}, {"labels": ["day"]}, {"max_candidates": 1}):
                answers = [
                    await identify(one, embedded(vector(number)), with_score=True, **more) for one in (world, exact)
                ]
                assert candidates(answers[0]) == candidates(answers[1])
                there, here = (answer.coverage for answer in answers)
                assert (there.vectors_in_clear, here.vectors_in_clear) == (True, False)
                assert (there.mode, there.complete) == (matching_pb2.SEARCH_MODE_EXACT, True)
                assert there.subjects_searched == here.subjects_searched == SUBJECTS
            own = await verify(world, f"s{number:02}", embedded(vector(number)))
            other = await verify(world, f"s{number:02}", embedded(vector(5 if number != 5 else 6)))
            assert (own.decision.outcome, other.decision.outcome) == (pb.OUTCOME_MATCH, pb.OUTCOME_NO_MATCH)
    assert (await refused(verify(world, "nobody", embedded(vector(1))))).reason == "SUBJECT_NOT_FOUND"


async def test_an_approximate_engine_says_so(store: str, engine: Engine) -> None:
    """With HNSW the mode is APPROXIMATE."""
    async with running_world(store, **engine.settings(milvus_index=MilvusKind.HNSW)) as world:
        await eventually(world.is_ready)
        await enroll(world, "ada", embedded(vector(1)))
        answer = await identify(world, embedded(vector(1)))
    assert answer.coverage.mode == matching_pb2.SEARCH_MODE_APPROXIMATE
    assert answer.identifications[0].candidates[0].subject_id == "ada"


async def test_who_is_erased_is_found_no_more_and_the_receipt_promises_no_more_than_that(
    store: str, engine: Engine
) -> None:
    """The engine's files may keep the vector: the receipt stays ACCEPTED while every gallery was heard of since."""
    settings = engine.settings(rewrite_after_erasure=False, erasure_interval_s=0.05)
    async with running_world(store, **settings) as world:
        await eventually(world.is_ready)
        await people(world)
        erased = await world.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id="s03"))
        answer = await identify(world, embedded(vector(3)), with_score=True, max_candidates=50)
        assert "s03" not in [row[0] for row in candidates(answer)]
        assert (await refused(verify(world, "s03", embedded(vector(3))))).reason == "SUBJECT_NOT_FOUND"
        at = erased.receipt.erased_at.ToNanoseconds()

        async def has_told_since() -> bool:
            return all(one.at.timestamp() * 1e9 > at for one in await world.gallery.store.members())

        await eventually(has_told_since)
        assert await state_of(world, erased.receipt.receipt_id) == subject_pb2.ERASURE_STATE_ACCEPTED
        assert all(not any(one.positions["default"]) for one in await world.gallery.store.members())


async def test_the_same_erasure_without_an_engine_is_complete(store: str) -> None:
    """So that the one above rests on the engine."""
    async with running_world(store, rewrite_after_erasure=False, erasure_interval_s=0.05) as world:
        await eventually(world.is_ready)
        await people(world)
        erased = await world.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id="s03"))

        async def is_complete() -> bool:
            return await state_of(world, erased.receipt.receipt_id) == subject_pb2.ERASURE_STATE_COMPLETE

        await eventually(is_complete)


async def state_of(world: World, receipt_id: str) -> int:
    """What a receipt says."""
    request = subject_pb2.GetErasureReceiptRequest(collection_id="default", receipt_id=receipt_id)
    return (await world.stub.GetErasureReceipt(request)).receipt.state


async def test_a_restart_goes_on_where_the_table_stands(store: str, engine: Engine, loads: list[int]) -> None:
    """What happened meanwhile comes from the log; names are learnt again; nothing is loaded into the engine."""
    async with running_world(store, **engine.settings()) as world:
        await eventually(world.is_ready)
        await people(world)
    async with running_world(store) as exact:
        await eventually(exact.is_ready)
        await enroll(exact, "new", embedded(vector(77)), display_name="New")
        await exact.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id="s01"))
    loads.clear()
    async with running_world(store, **engine.settings()) as world:
        await eventually(world.is_ready)
        answer = candidates(await identify(world, embedded(vector(77)), with_score=True, max_candidates=50))
        assert (answer[0][0], answer[0][2]) == ("new", "New")
        assert {row[0] for row in answer} == {f"s{n:02}" for n in range(SUBJECTS) if n != 1} | {"new"}
        assert {row[2] for row in answer} >= {"N2", "N11"}
    assert loads == []


async def test_a_foreign_marker_makes_the_table_anew(
    store: str, engine: Engine, loads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that says it has come where this collection never was is thrown away, not believed."""
    names: list[str] = []
    write = MilvusPositions.write

    def noted(self: MilvusPositions, name: str, marker: Mapping[int, tuple[int, str]]) -> None:
        names.append(name)
        write(self, name, marker)

    monkeypatch.setattr(MilvusPositions, "write", noted)
    async with running_world(store, **engine.settings()) as world:
        await eventually(world.is_ready)
        await people(world)
    loads.clear()
    connection = MilvusEngine(EngineAddress(engine.uri))
    write(MilvusPositions(connection), names[-1], dict.fromkeys(range(SHARDS), (3, "foreign")))
    connection.close()
    async with running_world(store, **engine.settings()) as world:
        await eventually(world.is_ready)
        answer = candidates(await identify(world, embedded(vector(5)), with_score=True, max_candidates=50))
        assert {row[0] for row in answer} == {f"s{n:02}" for n in range(SUBJECTS)}
    assert sum(loads) == SUBJECTS


async def test_one_gallery_at_a_time_uses_a_table(store: str, engine: Engine, loads: list[int]) -> None:
    """A second one is not ready while the first one holds the lease, and goes on when that has gone."""
    async with running_world(store, **engine.settings()) as first:
        await eventually(first.is_ready)
        await people(first)
        async with running_world(store, **engine.settings()) as second:
            told = await refused(identify(second, embedded(vector(5))))
            assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "MILVUS_UNAVAILABLE")
            assert not await second.is_ready()
            assert candidates(await identify(first, embedded(vector(5))))[0][0] == "s05"
    loads.clear()
    async with running_world(store, **engine.settings()) as successor:
        await eventually(successor.is_ready)
        assert candidates(await identify(successor, embedded(vector(5))))[0][0] == "s05"
    assert loads == []


async def test_an_engine_that_is_away_is_named(world: World, engine: Engine) -> None:
    """A search fails with its reason; an enrolment holds in the store all the same."""
    engine.server.stop(None).wait()
    told = await refused(identify(world, embedded(vector(5))))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "MILVUS_UNAVAILABLE")
    await enroll(world, "late", embedded(vector(78)))
    assert (await world.stub.GetSubject(subject_pb2.GetSubjectRequest(subject_id="late"))).subject.subject_id == "late"


async def test_a_collection_that_goes_takes_its_table_along(world: World, engine: Engine) -> None:
    """The engine has no vector of it afterwards."""
    staff = collection_pb2.Collection(collection_id="staff", shard_count=SHARDS)
    await world.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=staff))
    connection = MilvusEngine(EngineAddress(engine.uri))

    async def tables() -> set[str]:
        with connection.session() as client:
            return {name for name in client.list_collections() if name != "tessera_positions"}

    before = await tables()
    await enroll(world, "ada", embedded(vector(1)), collection_id="staff")
    assert len(await tables() - before) == 1
    await world.stub.DeleteCollection(collection_pb2.DeleteCollectionRequest(collection_id="staff", force=True))

    async def is_gone() -> bool:
        return await tables() == before

    await eventually(is_gone)
    connection.close()
