"""Clocks of cameras that see the same place: an offset over half a second is told, and nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from camera_ingest.aligning import ClockWatch
from camera_ingest.camera import Camera, CameraEvent
from camera_ingest.metrics import IngestMetrics
from tessera.chassis.clock import ManualClock
from tessera.client.stream_values import TrackletDecision, TrackletUpdate
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.decision import Decision, Outcome
from tessera.domain.ids import CameraId, CollectionId, EventId, ModelId, SubjectId, TrackletId
from tessera.domain.observation import Box

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


class Place:
    """Cameras, and people who pass before them."""

    def __init__(self, views: dict[str, str]) -> None:
        self.cameras = {
            CameraId(name): Camera(CameraId(name), "demo:", labels={"view": view} if view else {})
            for name, view in views.items()
        }
        self.events: list[CameraEvent] = []
        self.metrics = IngestMetrics(CollectorRegistry())
        self.watch = ClockWatch(self.cameras.get, self.events.append, ManualClock(START), self.metrics)
        self._chance = np.random.default_rng(11)
        self._passed = 0

    def pass_by(self, people: int, offsets_s: dict[str, float], *, wider_s: dict[str, float] | None = None) -> None:
        """People pass at irregular moments; each camera stamps them by its own clock, give or take a frame."""
        for _ in range(people):
            self._passed += 1
            began_s = self._passed * 40.0 + float(self._chance.uniform(0, 25))
            lasts_s = float(self._chance.uniform(4, 12))
            for name, offset_s in offsets_s.items():
                wider = (wider_s or {}).get(name, 0.0)
                first_s, last_s = began_s - wider + offset_s, began_s + lasts_s + wider + offset_s
                self._end(name, f"link-{self._passed}", first_s, last_s)

    def _end(self, camera: str, person: str, first_s: float, last_s: float) -> None:
        jitter = self._chance.uniform(-0.1, 0.1, 2)
        tracklet_id = TrackletId(f"{camera}-{person}")
        update = TrackletUpdate(
            camera_id=CameraId(camera),
            collection_id=CollectionId("default"),
            tracklet_id=tracklet_id,
            sequence=2,
            samples=(),
            first_seen=START + timedelta(seconds=first_s + jitter[0]),
            last_seen=START + timedelta(seconds=last_s + jitter[1]),
            box=Box(0, 0, 10, 10),
            frame_count=9,
            ended=True,
        )
        is_known = self._passed % 2 == 0
        decision = Decision(Outcome.MATCH if is_known else Outcome.UNKNOWN, (), None, None, ModelId("test@1"))
        self.watch.take(
            update,
            TrackletDecision(
                tracklet_id=tracklet_id,
                sequence=2,
                revision=1,
                decision=decision,
                subject_id=SubjectId(person) if is_known else None,
                display_name="",
                event_id=EventId("e"),
                capture_to_decision_s=0.1,
                link_id="" if is_known else person,
            ),
        )

    def offset_s(self, camera: str, other: str) -> float | None:
        name = "tessera_ingest_clock_offset_seconds"
        return self.metrics.registry.get_sample_value(name, {"camera": camera, "other": other})


@pytest.mark.parametrize("offset_s", [0.8, -2.5, 20.0])
def test_an_offset_over_half_a_second_is_told_once(offset_s: float) -> None:
    """With the camera, the other one, and how far; it is shown as a metric to a tenth of a second."""
    place = Place({"gate-1": "gate", "gate-2": "gate"})
    place.pass_by(30, {"gate-1": 0.0, "gate-2": offset_s})
    (event,) = place.events
    assert (event.told_as, event.camera_id) == (CameraEventKind.CLOCK_OFFSET, "gate-2")
    assert f"{abs(offset_s):.1f} s {'ahead of' if offset_s > 0 else 'behind'} that of gate-1" in event.detail
    assert place.offset_s("gate-2", "gate-1") == pytest.approx(offset_s, abs=0.1)


def test_clocks_that_agree_are_no_event() -> None:
    """Nor is an offset below half a second, which is shown all the same."""
    place = Place({"gate-1": "gate", "gate-2": "gate"})
    place.pass_by(30, {"gate-1": 0.0, "gate-2": 0.3})
    assert place.events == []
    assert place.offset_s("gate-2", "gate-1") == pytest.approx(0.3, abs=0.1)


def test_a_wider_picture_is_no_offset() -> None:
    """Who comes into it 2 s before the other and leaves it 2 s after says nothing of clocks."""
    place = Place({"gate-1": "gate", "gate-2": "gate"})
    place.pass_by(30, {"gate-1": 0.0, "gate-2": 0.0}, wider_s={"gate-2": 2.0})
    assert place.events == []
    assert place.offset_s("gate-2", "gate-1") == pytest.approx(0.0, abs=0.1)


def test_a_few_people_prove_nothing() -> None:
    """Two passages that fit are no estimate."""
    place = Place({"gate-1": "gate", "gate-2": "gate"})
    place.pass_by(2, {"gate-1": 0.0, "gate-2": 3.0})
    assert place.events == []
    assert place.offset_s("gate-2", "gate-1") is None


def test_cameras_of_other_views_are_not_compared() -> None:
    """Who walks from one place to the other takes his time: that is no offset."""
    place = Place({"gate": "gate", "hall": "hall", "yard": ""})
    place.pass_by(30, {"gate": 0.0, "hall": 9.0, "yard": 20.0})
    assert place.events == []


def test_a_clock_that_was_set_may_be_told_again() -> None:
    """After the offset went, the next one is another event."""
    place = Place({"gate-1": "gate", "gate-2": "gate"})
    place.pass_by(30, {"gate-1": 0.0, "gate-2": 3.0})
    place.pass_by(110, {"gate-1": 0.0, "gate-2": 0.0})
    assert len(place.events) == 1
    assert place.offset_s("gate-2", "gate-1") == pytest.approx(0.0, abs=0.1)
    place.pass_by(110, {"gate-1": 0.0, "gate-2": 3.0})
    assert len(place.events) == 2


def test_a_camera_that_went_is_forgotten() -> None:
    """It is compared with nobody any more."""
    place = Place({"gate-1": "gate", "gate-2": "gate"})
    place.pass_by(30, {"gate-1": 0.0})
    del place.cameras[CameraId("gate-1")]
    place.pass_by(30, {"gate-2": 3.0})
    assert place.events == []
