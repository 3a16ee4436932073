"""Somebody walks past a camera of `tests.gallery_world`, and is decided."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tessera.client import wire
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import matching_pb2
from tests.gallery_world import MODEL, World, embedded, enroll, person


async def enroll_two(world: World) -> None:
    """Ada (person 0), who is banned, and Bob (person 5), who is not."""
    for name, number, labels in (("ada", 0, ["banned"]), ("bob", 5, ["staff"])):
        await enroll(world, name, embedded(person(number)), display_name=name.title(), labels=labels)


async def see(  # noqa: PLR0917 - a row of a table
    world: World,
    tracklet_id: str,
    number: int,
    camera_id: str = "gate",
    age_s: float = 0.0,
    zones: Sequence[Sequence[str]] = ((), ()),
) -> None:
    """A person in two frames or more, taken `age_s` ago; for each frame the zones so far."""
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    updates = [
        matching_pb2.TrackletUpdate(
            camera_id=camera_id,
            tracklet_id=tracklet_id,
            sequence=sequence,
            first_seen=wire.time_to_wire(at),
            last_seen=wire.time_to_wire(at),
            frame_count=sequence,
            zones=names,
            samples=[
                matching_pb2.TrackletSample(
                    capture_time=wire.time_to_wire(at),
                    embedding=pb.Embedding(values=person(number, 0.1), model_id=MODEL),
                    quality=pb.Quality(size=0.9, overall=0.9),
                    box=pb.Box(width_px=50, height_px=50),
                )
            ],
        )
        for sequence, names in enumerate(zones, 1)
    ]
    opening = matching_pb2.MatchStreamRequest(open=matching_pb2.MatchStreamOpen(worker_id="w1"))
    requests = [opening, *(matching_pb2.MatchStreamRequest(update=update) for update in updates)]
    async for answer in world.stub.MatchStream(iter(requests)):
        assert answer.WhichOneof("message") != "rejected", answer
