"""A gallery of faces and of persons, with bodies that a test describes by a number and by how they differ."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

from gallery_svc.thresholds import Thresholds
from tessera.client import wire
from tessera.domain.embedding import Modality
from tessera.domain.error_rates import Interval
from tessera.domain.ids import CalibrationId, ModelId
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import collection_pb2, events_pb2, matching_pb2, persons_pb2, persons_pb2_grpc
from tests.eventually import eventually
from tests.gallery_world import CALIBRATION, DIMENSIONS, MODEL, World, embedded, enroll, person, running_world

BODY_MODEL = ModelId("person-notes-1@0123456789ab")
_MISSED = (0.01, 0.03, 0.08, 0.2, 0.4)
FACE_CALIBRATION = replace(
    CALIBRATION,
    points=tuple(
        replace(point, fnmr=missed, fnmr_interval=Interval(missed / 2, 2 * missed))
        for point, missed in zip(CALIBRATION.points, _MISSED, strict=True)
    ),
)
"""FMR 1e-1, 1e-2, ... 1e-5 at 0.2, 0.3, ... 0.6, and of one person's own 1, 3, 8, 20, 40 % below that."""
BODY_CALIBRATION = replace(
    FACE_CALIBRATION, calibration_id=CalibrationId("cal-bodies-1"), model_id=BODY_MODEL, modality=Modality.PERSON
)
THRESHOLDS = Thresholds(
    [FACE_CALIBRATION, BODY_CALIBRATION],
    {Modality.FACE: MODEL, Modality.PERSON: BODY_MODEL},
    {MODEL: DIMENSIONS, BODY_MODEL: DIMENSIONS},
)
PERSONS = "persons"
STRICT = collection_pb2.DecisionPolicy(verify_target_fmr=1e-4, min_tracklet_frames=2)


@contextlib.asynccontextmanager
async def running_person_world(store: str, **settings: Any) -> AsyncIterator[World]:
    """A gallery that is ready, knows Ada's face (person 0), and looks every 50 ms for what is kept for too long."""
    chosen = {"person_sweep_interval_s": 0.05, "rewrite_after_erasure": False} | settings
    async with running_world(store, THRESHOLDS, **chosen) as running:
        await eventually(running.is_ready)
        await enroll(running, "ada", embedded(person(0)), display_name="Ada")
        with contextlib.suppress(grpc.aio.AioRpcError):  # another gallery of the same store made it
            await create_persons(running, policy=STRICT)
        yield running


def ago(seconds: float) -> datetime:
    """So long before now."""
    return datetime.now(UTC) - timedelta(seconds=seconds)


def body(
    tracklet_id: str,
    number: int,
    *,
    camera: str = "door",
    sequence: int = 1,
    off: float = 0.1,
    seen_s: tuple[float, float] = (2.0, 1.0),
    looks: int = 2,
    **fields: Any,
) -> matching_pb2.TrackletUpdate:
    """An update of a person's tracklet.

    Args:
        tracklet_id: whose.
        number: what the body looks like.
        camera: that sees it.
        sequence: of the update.
        off: how it differs from others of that number, as the sine of an angle.
        seen_s: how long ago it was seen first and last.
        looks: samples of it.
        fields: of the update, instead of these.
    """
    first, last = (wire.time_to_wire(ago(seconds)) for seconds in seen_s)
    sample = matching_pb2.TrackletSample(
        capture_time=last,
        embedding=pb.Embedding(values=person(number, off), model_id=BODY_MODEL),
        quality=pb.Quality(size=0.9, overall=0.9),
        box=pb.Box(width_px=40, height_px=100),
    )
    values = {
        "camera_id": camera,
        "collection_id": PERSONS,
        "tracklet_id": tracklet_id,
        "sequence": sequence,
        "samples": [sample] * looks,
        "first_seen": first,
        "last_seen": last,
        "frame_count": 2 * sequence,
        "modality": pb.MODALITY_PERSON,
    }
    return matching_pb2.TrackletUpdate(**(values | fields))


def face(tracklet_id: str, number: int, *, camera: str = "door", off: float = 0.1) -> matching_pb2.TrackletUpdate:
    """An update of a face's tracklet, of two looks."""
    now = wire.time_to_wire(ago(1.0))
    sample = matching_pb2.TrackletSample(
        capture_time=now,
        embedding=pb.Embedding(values=person(number, off), model_id=MODEL),
        quality=pb.Quality(size=0.9, overall=0.9),
        box=pb.Box(width_px=10, height_px=10),
    )
    return matching_pb2.TrackletUpdate(
        camera_id=camera,
        tracklet_id=tracklet_id,
        sequence=1,
        samples=[sample, sample],
        first_seen=now,
        last_seen=now,
        frame_count=2,
    )


def on_body(tracklet_id: str, together: int = 10, otherwise: int = 0) -> matching_pb2.FaceOnBody:
    """The face that was seen on a body."""
    return matching_pb2.FaceOnBody(tracklet_id=tracklet_id, frames_together=together, frames_otherwise=otherwise)


async def see(world: World, *updates: matching_pb2.TrackletUpdate) -> list[matching_pb2.TrackletDecision]:
    """The decisions on some updates, one after the other.

    Raises:
        AssertionError: one was rejected.
    """
    opening = matching_pb2.MatchStreamRequest(open=matching_pb2.MatchStreamOpen(worker_id="w1"))
    requests = [opening, *(matching_pb2.MatchStreamRequest(update=update) for update in updates)]
    answers = [answer async for answer in world.stub.MatchStream(iter(requests))][1:]
    assert all(answer.WhichOneof("message") == "decision" for answer in answers), answers
    return [answer.decision for answer in answers]


def persons_of(world: World) -> persons_pb2_grpc.PersonServiceAsyncStub:
    """Who answers questions about persons."""
    return persons_pb2_grpc.PersonServiceStub(world.channel)


async def where(world: World, **question: Any) -> persons_pb2.FindAppearancesResponse:
    """Where else somebody was."""
    return await persons_of(world).FindAppearances(persons_pb2.FindAppearancesRequest(**question))


async def seen_ids(world: World, **question: Any) -> list[str]:
    """The tracklets of the answer, in its order."""
    return [one.tracklet_id for one in (await where(world, **question)).appearances]


async def told(world: World) -> list[events_pb2.Event]:
    """The sightings of persons, newest first."""
    request = events_pb2.ListSightingsRequest(collection_id=PERSONS)
    return list((await world.events.ListSightings(request)).events)


async def create_persons(world: World, **fields: Any) -> collection_pb2.Collection:
    """Make a collection of persons; `persons`, unless another is named."""
    wanted = {"collection_id": PERSONS, "modality": pb.MODALITY_PERSON} | fields
    request = collection_pb2.CreateCollectionRequest(collection=collection_pb2.Collection(**wanted))
    return (await world.stub.CreateCollection(request)).collection
