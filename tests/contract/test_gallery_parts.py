"""One collection over three galleries, over real gRPC and one real store, beside a gallery that holds all of it."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import grpc
import numpy as np
import pytest

from gallery_svc.store.protocol import shard_of
from gallery_svc.thresholds import Thresholds
from tessera.chassis.channel import open_channel
from tessera.chassis.ports import free_port
from tessera.client import wire
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import CalibrationId, ModelId, SubjectId
from tessera.v1 import (
    audit_pb2,
    collection_pb2,
    encoder_pb2,
    events_pb2,
    matching_pb2,
    shard_pb2,
    shard_pb2_grpc,
    subject_pb2,
)
from tessera.v1 import biometrics_pb2 as pb
from tests.eventually import eventually
from tests.gallery_world import (
    CALIBRATION,
    DIMENSIONS,
    MODEL,
    NoteReader,
    World,
    embedded,
    emptied,
    enroll,
    found,
    identify,
    person,
    probe_of,
    refused,
    running_world,
    verify,
)
from tests.valkey import PrivateServer, running_server

SHARDS, SUBJECTS = 8, 48
HOLDS = ("0-2/8", "3-5/8", "6,7/8")
DAY, CELLAR = "day", "cellar"
OTHER = ModelId("face-notes-2@0123456789ab")
TWO = Thresholds(
    [CALIBRATION, replace(CALIBRATION, model_id=OTHER, calibration_id=CalibrationId("cal-notes-2"))],
    {Modality.FACE: MODEL},
    {MODEL: DIMENSIONS, OTHER: DIMENSIONS},
)


@dataclass
class Town:
    """A whole gallery and three parts of it; each part can be stopped."""

    whole: World
    parts: list[World]
    lives: list[contextlib.AsyncExitStack]
    shard_ports: list[int]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
async def town(valkey: PrivateServer) -> AsyncIterator[Town]:
    """Forty-eight seeded people in eight shards, every fourth with a double; all galleries ready and level."""
    store = await emptied(valkey)
    ports = [free_port() for _ in HOLDS]
    async with contextlib.AsyncExitStack() as all_of_them:
        whole = await all_of_them.enter_async_context(running_world(store, shards=SHARDS))
        await eventually(whole.is_ready)
        await people(whole)
        parts, lives = [], []
        for holds, port in zip(HOLDS, ports, strict=True):
            peers = ",".join(f"127.0.0.1:{other}" for other in ports if other != port)
            life = await all_of_them.enter_async_context(contextlib.AsyncExitStack())
            starting = running_world(store, holds=holds, peers=peers, shard_port=port)
            parts.append(await life.enter_async_context(starting))
            lives.append(life)
        for part in parts:
            await eventually(part.is_ready)
        yield Town(whole, parts, lives, ports)


async def people(world: World) -> None:
    """Enrol them, by the numbers."""
    random = np.random.default_rng(11)
    for number in range(SUBJECTS):
        vector = random.normal(size=DIMENSIONS) if number % 4 else np.eye(DIMENSIONS)[number % 3]
        await enroll(
            world,
            f"s{number:02}",
            embedded([float(value) for value in vector]),
            display_name=f"Name {number}",
            labels=[DAY] if number % 2 else [],
            camera_ids=[CELLAR] if number % 5 == 0 else [],
        )


def probes() -> list[pb.Probe]:
    """Doubles, half-doubles and strangers."""
    random = np.random.default_rng(12)
    axes = [np.eye(DIMENSIONS)[at] for at in range(3)]
    mixed = [axes[0] + axes[1], *(random.normal(size=DIMENSIONS) for _ in range(4))]
    return [embedded([float(value) for value in vector]) for vector in (*axes, *mixed)]


def told(answer: matching_pb2.IdentifyResponse) -> Any:
    """All of an answer but what differs each time it is asked."""
    plain = matching_pb2.IdentifyResponse()
    plain.CopyFrom(answer)
    for one in plain.identifications:
        one.decision.ClearField("evidence_id")
        one.decision.ClearField("decided_at")
    plain.coverage.ClearField("behind")
    plain.coverage.behind_changes = 0
    return plain


def someone_in(shards: range) -> str:
    """An enrolled subject that no camera is left out of."""
    names = (f"s{number:02}" for number in range(SUBJECTS) if number % 5 and number % 4)
    return next(name for name in names if shard_of(SubjectId(name), SHARDS) in shards)


def vector_of(name: str) -> list[float]:
    """Their own vector."""
    random, wanted = np.random.default_rng(11), int(name[1:])
    for number in range(SUBJECTS):
        vector = random.normal(size=DIMENSIONS) if number % 4 else np.eye(DIMENSIONS)[number % 3]
        if number == wanted:
            return [float(value) for value in vector]
    raise LookupError(name)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"labels": [DAY]},
        {"camera_id": CELLAR},
        {"camera_id": "door"},
        {"max_candidates": 1},
        {"max_candidates": 60},
    ],
    ids=str,
)
async def test_every_part_answers_as_the_whole(town: Town, fields: dict[str, Any]) -> None:
    """Candidates, scores, templates, names, decisions, thresholds, positions and coverage: the same message."""
    for probe in probes():
        expected = told(await identify(town.whole, probe, with_score=True, **fields))
        assert expected.coverage.complete
        for part in town.parts:
            assert told(await identify(part, probe, with_score=True, **fields)) == expected


async def test_a_claim_is_answered_by_who_holds_it(town: Town) -> None:
    """Every subject, from every gallery: the whole one's answer; one who is not there is not found."""
    for number in range(0, SUBJECTS, 5):
        name = f"s{number:02}"
        probe = embedded(vector_of(name))
        expected = await verify(town.whole, name, probe, with_score=True)
        for part in town.parts:
            answer = await verify(part, name, probe, with_score=True)
            assert (answer.decision.outcome, answer.decision.score) == (pb.OUTCOME_MATCH, expected.decision.score)
            assert (answer.template_id, answer.position) == (expected.template_id, expected.position)
            assert answer.coverage.complete
    for part in town.parts:
        assert (await refused(verify(part, "nobody", probes()[0]))).reason == "SUBJECT_NOT_FOUND"
        kept_out = await refused(verify(part, "s05", probes()[0], camera_id="door"))
        assert kept_out.reason == "SUBJECT_NOT_FOUND"


async def test_what_one_part_enrols_another_finds_and_forgets(town: Town) -> None:
    """With the write's position, from each gallery at once; after an erasure nobody finds it."""
    first, second, third = town.parts
    name = next(name for name in (f"x{n}" for n in range(99)) if shard_of(SubjectId(name), SHARDS) == 7)
    vector = [0.0] * (DIMENSIONS - 1) + [1.0]
    written = await enroll(first, name, embedded(vector))
    for part in (first, second, third):
        answer = await identify(part, embedded(vector), min_positions=[written.position])
        assert answer.identifications[0].candidates[0].subject_id == name
        assert answer.positions[7] >= written.position
    erased = await second.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id=name))
    for part in (first, second, third):
        position = erased.position
        answer = await identify(part, embedded(vector), min_positions=[position], with_score=True)
        assert name not in {one.subject_id for one in answer.identifications[0].candidates}
        gone = await refused(verify(part, name, embedded(vector), min_positions=[position]))
        assert gone.reason == "SUBJECT_NOT_FOUND"
    never = await refused(identify(first, probes()[0], min_positions=[written.position + 99]))
    assert never.reason == "POSITION_NOT_REACHED"


async def test_a_part_that_is_gone_makes_nobody_unknown(town: Town) -> None:
    """GALLERY_INCOMPLETE with the numbers; with leave a match stays one, and all else is inconclusive."""
    first = town.parts[0]
    name, lost = someone_in(range(3)), someone_in(range(6, 8))
    for one in (name, lost):
        answer = await identify(first, embedded(vector_of(one)))
        assert answer.identifications[0].decision.outcome == pb.OUTCOME_MATCH
    await town.lives[2].aclose()
    refusal = await refused(identify(first, embedded(vector_of(name))))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "GALLERY_INCOMPLETE")
    assert (refusal.metadata["shards_searched"], refusal.metadata["shards_total"]) == ("6", "8")
    assert (await refused(verify(first, lost, embedded(vector_of(lost))))).reason == "GALLERY_INCOMPLETE"
    assert (await verify(first, name, embedded(vector_of(name)))).decision.outcome == pb.OUTCOME_MATCH

    known = await identify(first, embedded(vector_of(name)), allow_partial=True)
    missed = await identify(first, embedded(vector_of(lost)), allow_partial=True)
    for answer, outcome in ((known, pb.OUTCOME_MATCH), (missed, pb.OUTCOME_INCONCLUSIVE)):
        decision = answer.identifications[0].decision
        assert (decision.outcome, list(decision.reasons)) == (outcome, [pb.REASON_PARTIAL_GALLERY])
        coverage = answer.coverage
        assert (coverage.complete, coverage.shards_searched, coverage.shards_total) == (False, 6, 8)
        assert decision.threshold.gallery_size >= SUBJECTS


async def test_a_camera_s_people_are_not_unknown_when_a_part_is_gone(town: Town) -> None:
    """A tracklet of somebody who is held elsewhere is told with the name; without that part it is inconclusive."""
    first, lost = town.parts[0], someone_in(range(6, 8))
    answer = await track(first, "t1", vector_of(lost))
    assert (answer.subject_id, answer.display_name) == (lost, f"Name {int(lost[1:])}")
    await town.lives[2].aclose()
    answer = await track(first, "t2", vector_of(lost))
    assert answer.decision.outcome == pb.OUTCOME_INCONCLUSIVE
    assert pb.REASON_PARTIAL_GALLERY in answer.decision.reasons
    known = await track(first, "t3", vector_of(someone_in(range(3))))
    assert known.decision.outcome == pb.OUTCOME_MATCH
    listed = await first.events.ListSightings(events_pb2.ListSightingsRequest())
    assert {event.sighting.decision.outcome for event in listed.events} == {pb.OUTCOME_MATCH}


async def track(world: World, tracklet_id: str, vector: list[float]) -> Any:
    """The decision about a tracklet with several looks."""
    now = wire.time_to_wire(datetime.now(UTC))
    looks = [
        matching_pb2.TrackletSample(
            capture_time=now, embedding=embedded(vector).embedding, quality=pb.Quality(overall=0.9)
        )
        for _ in range(5)
    ]
    update = matching_pb2.TrackletUpdate(
        tracklet_id=tracklet_id,
        sequence=1,
        camera_id="door",
        samples=looks,
        first_seen=now,
        last_seen=now,
        frame_count=5,
    )
    requests = [
        matching_pb2.MatchStreamRequest(open=matching_pb2.MatchStreamOpen(worker_id="w1")),
        matching_pb2.MatchStreamRequest(update=update),
    ]
    answers = [answer async for answer in world.stub.MatchStream(iter(requests))]
    return answers[-1].decision


async def test_scores_are_not_told_on_the_public_port(town: Town) -> None:
    """The service for other galleries is on its own port alone, and there it answers for its own shards alone."""
    with pytest.raises(grpc.aio.AioRpcError) as absent:
        await shard_pb2_grpc.GalleryShardServiceStub(town.parts[1].channel).GetHolding(shard_pb2.GetHoldingRequest())
    assert absent.value.code() is grpc.StatusCode.UNIMPLEMENTED
    async with open_channel(f"127.0.0.1:{town.shard_ports[1]}") as channel:
        stub = shard_pb2_grpc.GalleryShardServiceStub(channel)
        assert (await stub.GetHolding(shard_pb2.GetHoldingRequest())).holds == "3,4,5/8"
        short = shard_pb2.SearchShardsRequest(collection_id="default", probes=b"abc", probe_count=1, limit=5)
        assert (await refused(stub.SearchShards(short))).reason == "INVALID_FIELD"
        other = shard_pb2.SearchShardsRequest(
            collection_id="default", shards=[3], model_id="face@9", probes=b"\0\0\x80?", probe_count=1, limit=5
        )
        assert (await refused(stub.SearchShards(other))).reason == "GALLERY_UNAVAILABLE"  # no generation was named


# ---- another encoder


class TwoModelReader(NoteReader):
    """An encoder with two models; the second turns every vector, so that no probe of the one suits the other."""

    async def Encode(self, request: encoder_pb2.EncodeRequest, context: Any) -> encoder_pb2.EncodeResponse:
        """Read one note under the model that is asked for."""
        model_id = request.options.model_id or MODEL
        if model_id == OTHER:
            note = json.loads(request.image.data)
            note["faces"] = [turned(face) for face in note["faces"]]
            request.image.data = json.dumps(note).encode()
        response = await super().Encode(request, context)
        response.model_id = model_id
        for observation in response.observations:
            observation.embedding.model_id = model_id
        return response


def turned(face: list[float]) -> list[float]:
    """What the second model makes of whom the first one sees so."""
    return [float(value) for value in np.roll(face, 5)]


@pytest.mark.parametrize("asked", [0, 1])
async def test_parts_that_take_to_another_encoder_at_different_moments_answer_as_one(
    valkey: PrivateServer, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    """Who has cut over and who has not heard of it: each finds everybody, and old embeddings are refused by both."""
    monkeypatch.setattr("tests.gallery_world.NoteReader", TwoModelReader)
    store, ports = await emptied(valkey), [free_port(), free_port()]
    # Only calls make them look at the store, once they are there.
    common = {"follow_interval_s": 60.0, "max_lag_s": 600.0}
    first = running_world(store, TWO, holds="0/2", shard_port=ports[0], peers=f"127.0.0.1:{ports[1]}", **common)
    second = running_world(store, TWO, holds="1/2", shard_port=ports[1], peers=f"127.0.0.1:{ports[0]}", **common)
    async with first as cutter, second as other:
        wanted = collection_pb2.Collection(collection_id="staff", keep_source_images=True, shard_count=2)
        await cutter.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=wanted))
        names = [f"p{number}" for number in range(6)]
        assert {shard_of(SubjectId(name), 2) for name in names} == {0, 1}
        written = [
            (await enroll(cutter, name, probe_of(person(number)), collection_id="staff")).position
            for number, name in enumerate(names)
        ]
        staff: dict[str, Any] = {"collection_id": "staff", "min_positions": written}
        for world in (cutter, other):
            answers = [await found(world, probe_of(person(at)), **staff) for at in range(6)]
            assert [one[0] for one in answers] == names
        for step in (audit_pb2.REEMBED_STEP_SHADOW, audit_pb2.REEMBED_STEP_CUT_OVER):
            request = audit_pb2.ReembedRequest(collection_id="staff", target_model_id=OTHER, step=step)
            async for _ in cutter.stub.Reembed(request):
                pass
        world = (cutter, other)[asked]
        answers = [await found(world, probe_of(person(at)), collection_id="staff") for at in range(6)]
        assert [one[0] for one in answers] == names
        old = await refused(identify(world, embedded(person(1)), collection_id="staff"))
        assert (old.code, old.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_MISMATCH")


async def test_a_start_that_ends_half_way_leaves_nobody_listening(valkey: PrivateServer) -> None:
    """The address for shards is taken: the gallery says so, and its own address answers nobody."""
    port = free_port()
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        settings = {"holds": HOLDS[0], "shard_port": taken.getsockname()[1], "port": port}
        with pytest.raises(InvalidInputError, match="shard_port"):
            async with running_world(await emptied(valkey), **settings):
                pass
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
        pass
