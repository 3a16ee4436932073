"""Which samples speak for a person, how updates fold while the gallery is away, and how often events are tried."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ingest_fakes import Rig, eventually, moment
from prometheus_client import CollectorRegistry

from camera_ingest.announcing import Announcer
from camera_ingest.backoff import Backoff
from camera_ingest.camera import Camera, CameraEvent, CameraState, Zone, dump_camera, load_camera
from camera_ingest.matching import MAX_SAMPLES, MAX_WAITING, folded
from camera_ingest.metrics import IngestMetrics
from camera_ingest.registry import CameraRegistry, MemoryCameraRegistry, RedisCameraRegistry
from camera_ingest.store import CAMERAS_KEY, StoreConnection
from camera_ingest.tracker import Tracker
from camera_ingest.tracklets import TrackletBook
from tessera.client.stream_values import (
    FrameAnswer,
    FrameOutcome,
    TrackletDecision,
    TrackletSample,
    TrackletUpdate,
)
from tessera.domain.decision import Decision, Outcome
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    StoreCorruptError,
    UnavailableError,
)
from tessera.domain.ids import CameraId, CollectionId, ModelId, TrackletId
from tessera.domain.observation import Box, Observation, Quality
from tessera.domain.reasons import Reason
from tests.servers import client_of
from tests.valkey import running_server

DOOR = Camera(CameraId("door"), "demo:")


def quality(overall: float, *reasons: Reason) -> Quality:
    return Quality(overall, 0.5, 0.8, 0.8, 0.9, overall, reasons)


def answer(at_s: float, overall: float, *reasons: Reason) -> FrameAnswer:
    embedding = Embedding.from_raw([1.0, 0.0, 0.0, 0.0], ModelId("test@1"))
    seen = Observation(Box(10, 10, 50, 60), np.zeros((5, 2), np.float32), 0.9, quality(overall, *reasons), embedding)
    return FrameAnswer(int(at_s * 10) + 1, moment(at_s), FrameOutcome.ENCODED, (seen,), 640, 480)


# ---- who needs no embedding


MATCHED = Decision(Outcome.MATCH, (), None, 0.7, ModelId("test@1"))


def decided_book(told: list[TrackletUpdate], decision: Decision = MATCHED) -> TrackletBook:
    """A book with one person, seen five times in a second and decided."""
    book = TrackletBook(DOOR, Tracker(lambda: TrackletId("t1")), told.append)
    for number in range(5):
        book.known(moment(number * 0.2))
        book.take(answer(number * 0.2, 0.8))
    book.decide(TrackletDecision(TrackletId("t1"), 1, 1, decision, None, "", None, 0.1))
    return book


def unembedded(at_s: float) -> FrameAnswer:
    """The same person, known and not embedded."""
    whole = answer(at_s, 0.8)
    return replace(whole, observations=tuple(replace(one, embedding=None) for one in whole.observations))


def is_known(book: TrackletBook, at_s: float) -> bool:
    return bool(book.known(moment(at_s)))


def test_one_frame_is_looked_at_anew_however_many_follow_before_its_answer(told: list[TrackletUpdate]) -> None:
    """Four frames are sent before the first is answered: one of them asks for an embedding, once a second."""
    book = decided_book(told)
    for number in range(5, 10):
        assert is_known(book, 0.2 * number - 0.05)
        book.take(unembedded(0.2 * number - 0.05))
    asked = [not is_known(book, 1.85 + number * 0.05) for number in range(4)]
    assert asked == [True, False, False, False]
    for at_s in (1.9, 1.95, 2.0):
        book.take(unembedded(at_s))
    assert is_known(book, 2.8)
    assert not is_known(book, 2.9), "it was never answered, and is asked for again after a second"


def test_a_person_who_is_rarely_seen_is_not_embedded_in_each_frame(told: list[TrackletUpdate]) -> None:
    """Two frames a second: each third of them is looked at anew, which is in time to revise a decision."""
    book = decided_book(told)
    asked = []
    for number in range(9):
        at_s = 1.3 + 0.5 * number
        asked.append(not is_known(book, at_s))
        book.take(answer(at_s, 0.8) if asked[-1] else unembedded(at_s))
    assert sum(asked) == 3


@pytest.mark.parametrize("outcome", [Outcome.INCONCLUSIVE, Outcome.NO_MATCH])
def test_who_is_not_decided_is_embedded_in_each_frame(told: list[TrackletUpdate], outcome: Outcome) -> None:
    """Each frame may be the one that decides."""
    book = decided_book(told, replace(MATCHED, outcome=outcome))
    assert not any(is_known(book, 0.9 + number * 0.05) for number in range(4))


@pytest.fixture
def told() -> list[TrackletUpdate]:
    return []


@pytest.fixture
def book(told: list[TrackletUpdate]) -> TrackletBook:
    numbers = itertools.count(1)
    return TrackletBook(DOOR, Tracker(lambda: TrackletId(f"t{next(numbers)}")), told.append)


def qualities(told: list[TrackletUpdate]) -> list[list[float]]:
    return [[sample.quality.overall for sample in update.samples] for update in told]


def test_samples_go_on_at_once_and_poor_ones_only_until_a_good_one_came(
    book: TrackletBook, told: list[TrackletUpdate]
) -> None:
    """A decision that waits is late; once somebody was seen well, a poor look has nothing to add."""
    book.take(answer(0.0, 0.3, Reason.LOW_SHARPNESS))
    book.take(answer(0.2, 0.8))
    book.take(answer(0.4, 0.35, Reason.LOW_SHARPNESS))
    assert qualities(told) == [[0.3], [0.8]]


def test_of_many_poor_samples_only_better_ones_go_on(book: TrackletBook, told: list[TrackletUpdate]) -> None:
    """The first three go on, enough for a decision; after them only what beats them."""
    for at_s, overall in ((0.0, 0.2), (0.2, 0.4), (0.4, 0.3), (0.6, 0.1), (0.8, 0.35), (0.9, 0.45)):
        book.take(answer(at_s, overall, Reason.LOW_SHARPNESS))
    assert qualities(told) == [[0.2], [0.4], [0.3], [0.45]]


def test_an_end_is_told_of_whoever_was_told_of(book: TrackletBook, told: list[TrackletUpdate]) -> None:
    """Somebody who was seen once, and poorly, ends too; the end brings no sample again."""
    book.take(answer(0.0, 0.3, Reason.SMALL_BOUNDING_BOX))
    assert book.end_stale(moment(5)) == 1
    assert [(update.ended, len(update.samples)) for update in told] == [(False, 1), (True, 0)]


def update(number: int, *samples: tuple[float, float], ended: bool = False) -> TrackletUpdate:
    embedding = Embedding.from_raw([1.0, 0.0], ModelId("test@1"))
    box = Box(0, 0, 10, 10)
    return TrackletUpdate(
        camera_id=CameraId("door"),
        collection_id=CollectionId("default"),
        tracklet_id=TrackletId(f"t{number}"),
        sequence=0,
        samples=tuple(TrackletSample(moment(at_s), embedding, quality(overall), box) for at_s, overall in samples),
        first_seen=moment(),
        last_seen=moment(9),
        box=box,
        frame_count=number,
        ended=ended,
    )


def test_folding_keeps_the_newest_state_and_the_best_samples() -> None:
    """Two updates become one: an end stays an end, and no more samples than allowed, in order of capture."""
    older = update(1, *((float(n), 0.1 * n) for n in range(6)), ended=True)
    newer = replace(update(1, *((10.0 + n, 0.95 - 0.1 * n) for n in range(6))), frame_count=12)
    both = folded(older, newer)
    assert (both.frame_count, both.ended, len(both.samples)) == (12, True, MAX_SAMPLES)
    times = [sample.capture_time for sample in both.samples]
    assert times == sorted(times)
    assert min(sample.quality.overall for sample in both.samples) > 0.2


async def test_what_waits_for_the_gallery_is_bounded(rig: Rig) -> None:
    """Past the limit the oldest tracklet is dropped and counted."""
    await rig.gallery_server.kill()
    for number in range(MAX_WAITING + 5):
        rig.ingest.matcher.submit(update(number))
    assert rig.ingest.matcher.open_count == MAX_WAITING
    assert rig.counted("tessera_ingest_updates_dropped_total", cause="OVERFLOW") == 5


def event(number: int) -> CameraEvent:
    return CameraEvent(f"e{number}", CameraId("door"), moment(), CameraState.LOST, "no answer")


async def test_an_event_is_tried_again_under_the_same_id(rig: Rig) -> None:
    """A gallery that refuses for the moment gets the event later, once, with its first id."""
    rig.gallery.refused_publications = 2
    rig.ingest.announcer.announce(event(1))
    await eventually(lambda: len(rig.gallery.events) == 1, "the event")
    assert rig.gallery.events[0].event_id == "e1"
    assert rig.gallery.refused_publications == 0


async def test_an_event_is_given_up_after_bounded_attempts() -> None:
    """With nobody to tell, each event is dropped and counted, and the next one has its turn."""
    metrics, tried = IngestMetrics(CollectorRegistry()), []

    async def away(tried_event: CameraEvent) -> None:
        tried.append(tried_event.event_id)
        raise UnavailableError("gallery")

    announcer = Announcer(away, metrics, Backoff(0.001, 0.002))
    announcer.announce(event(1))
    announcer.announce(event(2))
    announcer.drain()
    await asyncio.wait_for(announcer.run(), 10)
    assert tried == ["e1"] * 10 + ["e2"] * 10
    labels = {"kind": "LOST", "result": "DROPPED"}
    assert metrics.registry.get_sample_value("tessera_ingest_camera_events_total", labels) == 2


async def test_a_refused_event_is_not_tried_again() -> None:
    """What the gallery calls wrong will stay wrong."""
    metrics, tried = IngestMetrics(CollectorRegistry()), []

    async def refuse(tried_event: CameraEvent) -> None:
        tried.append(tried_event.event_id)
        raise InvalidInputError("event", "LOST", "nothing")

    announcer = Announcer(refuse, metrics, Backoff(0.001, 0.002))
    announcer.announce(event(1))
    announcer.drain()
    await asyncio.wait_for(announcer.run(), 10)
    assert tried == ["e1"]


RICH = Camera(
    CameraId("rich"),
    "rtsp://user:${CAMERA_PW}@host/x",
    sample_rate_hz=2.5,
    zones=(Zone("till", ((0.0, 0.0), (1.0, 0.0), (0.5, 1.0)), True),),
    labels={"site": "north"},
    loop=True,
)


async def assert_keeps_cameras(registry: CameraRegistry) -> None:
    """What every registry does."""
    assert await registry.load_all() == []
    assert await registry.put(RICH)
    assert await registry.put(DOOR)
    with pytest.raises(AlreadyExistsError):
        await registry.put(replace(DOOR, loop=True))
    assert await registry.load_all() == [DOOR, RICH]
    assert await registry.change(DOOR.camera_id, lambda camera: replace(camera, loop=True)) == replace(DOOR, loop=True)
    assert await registry.change(DOOR.camera_id, lambda camera: replace(camera, loop=False)) == DOOR
    with pytest.raises(NotFoundError):
        await registry.change(CameraId("nobody"), lambda camera: camera)
    assert await registry.remove(DOOR.camera_id)
    assert not await registry.remove(DOOR.camera_id)
    assert await registry.load_all() == [RICH]
    await registry.check()
    await registry.close()


async def test_both_registries_keep_cameras_alike(tmp_path: Path) -> None:
    """Memory and a real Valkey keep, refuse, list and forget in the same way."""
    await assert_keeps_cameras(MemoryCameraRegistry())
    with running_server(tmp_path) as server:
        await assert_keeps_cameras(RedisCameraRegistry(StoreConnection(server.url)))


async def test_a_registry_that_is_away_says_so(tmp_path: Path) -> None:
    """Each call of a registry without its server is `UnavailableError` of the store."""
    with running_server(tmp_path) as server:
        registry = RedisCameraRegistry(StoreConnection(server.url))
        await registry.check()
        server.kill()
        for call in (registry.load_all(), registry.put(DOOR), registry.remove(DOOR.camera_id), registry.check()):
            with pytest.raises(UnavailableError, match="store"):
                await call
        server.start()
        await registry.close()


async def test_two_who_change_a_camera_at_once_both_have_their_way(tmp_path: Path) -> None:
    """A change is made of the camera as it is kept by then: neither takes back what the other did."""
    with running_server(tmp_path) as server:
        first, second = (
            RedisCameraRegistry(StoreConnection(server.url)),
            RedisCameraRegistry(StoreConnection(server.url)),
        )
        await first.put(DOOR)

        def label(registry: RedisCameraRegistry, name: str) -> Coroutine[None, None, Camera]:
            return registry.change(DOOR.camera_id, lambda c: replace(c, labels={**c.labels, name: "1"}))

        await asyncio.gather(*(label(registry, f"{n}") for n in range(4) for registry in (first, second)))
        await asyncio.gather(*(label(registry, name) for registry, name in ((first, "a"), (second, "b"))))
        assert (await first.load_all())[0].labels.keys() == {"0", "1", "2", "3", "a", "b"}
        await first.close()
        await second.close()


async def test_an_entry_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """It is neither watched nor written over, and the cameras beside it are there."""
    newer = json.loads(dump_camera(RICH)) | {"gaze": 1}
    with running_server(tmp_path) as server, client_of(server) as client:
        client.hset(CAMERAS_KEY, "newer", json.dumps(newer))
        registry = RedisCameraRegistry(StoreConnection(server.url))
        await registry.put(DOOR)
        assert await registry.load_all() == [DOOR]
        with pytest.raises(StoreCorruptError):
            await registry.change(CameraId("newer"), lambda camera: camera)
        assert json.loads(client.hget(CAMERAS_KEY, "newer")) == newer  # type: ignore[arg-type]
        await registry.close()


def test_a_camera_survives_its_text() -> None:
    """What is written is read back the same, credentials' names included; other text is refused without its content."""
    assert load_camera(dump_camera(RICH), "key") == RICH
    for text in ("", "{}", '{"schema": 2}', dump_camera(RICH).replace("rtsp:", "s3cret:")):
        with pytest.raises(StoreCorruptError) as raised:
            load_camera(text, "key")
        assert "s3cret" not in str(raised.value)


def test_every_look_at_a_body_counts(told: list[TrackletUpdate]) -> None:
    """Who stands at the picture's edge is more than the few steps that took him there; a cut-off face is left out."""
    looks = (answer(0.0, 0.8), answer(0.2, 0.3, Reason.CUT_OFF), answer(0.4, 0.3, Reason.CUT_OFF))
    for modality, samples in ((Modality.PERSON, 3), (Modality.FACE, 1)):
        told.clear()
        camera = replace(DOOR, modalities=(modality,))
        book = TrackletBook(camera, Tracker(lambda: TrackletId("t1")), told.append, modality)
        for look in looks:
            book.take(look)
        assert sum(len(update.samples) for update in told) == samples
