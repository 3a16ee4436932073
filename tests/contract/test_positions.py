"""Reading what was written: a query that carries a position is answered from a state that has it, or told why not."""

from __future__ import annotations

import asyncio
import os
import signal

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import collection_pb2, matching_pb2, subject_pb2
from tests.eventually import eventually
from tests.gallery_world import (
    World,
    embedded,
    emptied,
    enroll,
    found,
    identify,
    person,
    refused,
    running_world,
    verify,
)
from tests.valkey import PrivateServer, running_server


async def spread(world: World, shards: int = 4) -> None:
    """Make a collection of several shards."""
    wanted = collection_pb2.Collection(collection_id="spread", shard_count=shards)
    await world.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=wanted))


async def test_an_answer_says_what_it_rests_on(world: World) -> None:
    """Whole, exact, sealed, in step; with the position that it includes."""
    await enroll(world, "ada", embedded(person(0)))
    last = await enroll(world, "bob", embedded(person(5)))
    identified = await identify(world, embedded(person(0)))
    verified = await verify(world, "ada", embedded(person(0)))
    assert identified.coverage == verified.coverage
    coverage = verified.coverage
    assert (coverage.shards_total, coverage.shards_searched, coverage.complete) == (1, 1, True)
    assert (coverage.mode, coverage.vectors_in_clear) == (matching_pb2.SEARCH_MODE_EXACT, False)
    assert (coverage.behind_changes, coverage.HasField("behind"), coverage.subjects_searched) == (0, False, 2)
    assert (identified.position, list(identified.positions), verified.position) == (2, [2], last.position)


async def test_positions_of_several_shards_are_answered_for(world: World) -> None:
    """Each is waited for; the answer tells all, and a verification that of its subject's shard."""
    await spread(world)
    written = [await enroll(world, f"s{n}", embedded(person(n)), collection_id="spread") for n in range(8)]
    positions = [one.position for one in written]
    assert len({position >> 48 for position in positions}) > 1
    answer = await identify(world, embedded(person(3)), collection_id="spread", min_positions=positions)
    assert answer.identifications[0].candidates[0].subject_id == "s3"
    assert answer.coverage.shards_total == 4
    told = dict.fromkeys(range(4), 0) | {position >> 48: position & (1 << 48) - 1 for position in positions}
    assert list(answer.positions) == [shard << 48 | told[shard] for shard in range(4)]
    one = await verify(world, "s3", embedded(person(3)), collection_id="spread", min_positions=positions)
    assert one.position == told[positions[3] >> 48] | (positions[3] >> 48) << 48


async def test_a_position_that_the_store_never_had_is_not_answered(world: World) -> None:
    """Better no answer than one from another history; told at once, with what there is."""
    await enroll(world, "ada", embedded(person(0)))
    for call in (
        identify(world, embedded(person(0)), min_position=99),
        identify(world, embedded(person(0)), min_positions=[1, 99]),
        verify(world, "ada", embedded(person(0)), min_positions=[99]),
    ):
        told = await refused(call)
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "POSITION_NOT_REACHED")
        assert told.metadata == {"position": "99", "reached": "1", "shard": "0", "why": "HISTORY_LOST"}
    told = await refused(identify(world, embedded(person(0)), min_positions=range(1, 66)))
    assert told.metadata["field"] == "min_positions"
    assert world.value("tessera_gallery_position_waits_total", outcome="HISTORY_LOST") == 3


async def test_what_another_gallery_wrote_is_read_with_its_position(valkey: PrivateServer) -> None:
    """Enrolments and erasures, dozens of times, although the other looks at the store but once a minute."""
    store = await emptied(valkey)
    async with running_world(store) as writer, running_world(store, follow_interval_s=60.0) as reader:
        await eventually(writer.is_ready)
        await eventually(lambda: _answers(reader))
        for number in range(30):
            name, label = f"s{number}", f"l{number}"
            written = await enroll(writer, name, embedded(person(number)), labels=[label])
            probe = embedded(person(number))
            at = written.position
            assert await found(reader, probe, labels=[label], min_position=at) == [name]
            gone = await writer.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id=name))
            assert await found(reader, probe, labels=[label], min_position=gone.position) == []


async def _answers(world: World) -> bool:
    try:
        await identify(world, embedded(person(0)))
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_a_query_waits_for_a_store_that_is_away_for_a_moment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A frozen store is waited for until it answers; one that stays away is told as what is not reached."""
    with running_server(tmp_path_factory.mktemp("frozen")) as server:
        async with (
            running_world(server.url) as writer,
            running_world(server.url, follow_interval_s=60.0, store_timeout_s=0.3, max_position_wait_s=5.0) as reader,
        ):
            await eventually(writer.is_ready)
            await eventually(lambda: _answers(reader))
            written = await enroll(writer, "ada", embedded(person(0)))
            assert server.process is not None
            os.kill(server.process.pid, signal.SIGSTOP)
            request = matching_pb2.IdentifyRequest(probe=embedded(person(0)), min_position=written.position)
            told = await refused(reader.stub.Identify(request, timeout=0.5))
            assert told.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            asked = asyncio.ensure_future(identify(reader, embedded(person(0)), min_position=written.position))
            await eventually(lambda: _is_waiting(reader))
            os.kill(server.process.pid, signal.SIGCONT)
            assert (await asked).identifications[0].decision.outcome == pb.OUTCOME_MATCH


async def _is_waiting(world: World) -> bool:
    return (world.value("grpc_server_started_total", grpc_method="Identify") or 2) >= 2


async def test_a_gallery_that_is_behind_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It goes on answering what it knows, tells how far behind it is, and is not ready; in step again, it is."""
    with running_server(tmp_path_factory.mktemp("behind")) as server:
        async with running_world(server.url, max_lag_s=0.2, store_timeout_s=0.2) as world:
            await eventually(world.is_ready)
            await enroll(world, "ada", embedded(person(0)))
            server.kill()
            await eventually(lambda: _is(world, health_pb2.HealthCheckResponse.NOT_SERVING))
            assert (world.value("tessera_gallery_behind_seconds", collection="default") or 0) >= 0
            server.start()
            await eventually(lambda: _is(world, health_pb2.HealthCheckResponse.SERVING))
            await eventually(lambda: _is_level(world))


async def _is_level(world: World) -> bool:
    return world.value("tessera_gallery_behind_seconds", collection="default") == 0


async def _is(world: World, status: int) -> bool:
    answer = await health_pb2_grpc.HealthStub(world.channel).Check(health_pb2.HealthCheckRequest())
    return int(answer.status) == status
