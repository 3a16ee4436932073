"""Links between sightings of unknown people: at a stated rate, for a while, never of two who were seen at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from gallery_svc.linking import MAX_LOOKS, Links, LinkSettings
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.thresholds import Thresholds, shipped_thresholds
from tessera.chassis.clock import ManualClock
from tessera.client.stream_values import TrackletUpdate
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.ids import CameraId, CollectionId, TrackletId
from tessera.domain.observation import Box

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
HOUR_S = 3600.0


@pytest.fixture(scope="module")
def thresholds() -> Thresholds:
    return shipped_thresholds()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


class Gate:
    """Links, and strangers who pass cameras."""

    def __init__(self, thresholds: Thresholds, clock: ManualClock, settings: LinkSettings | None = None) -> None:
        self.metrics = GalleryMetrics(CollectorRegistry())
        self.links = Links(settings or LinkSettings(), thresholds, clock, self.metrics)
        self._clock = clock
        self._model = thresholds.default_model(Modality.FACE)
        self._chance = np.random.default_rng(7)

    def stranger(self) -> np.ndarray:
        return self._chance.normal(size=128)

    def seen(
        self, who: np.ndarray, tracklet: str, camera: str = "door", *, noise: float = 0.2, for_s: float = 5.0
    ) -> str | None:
        """The link of a tracklet that ended a moment ago."""
        vector = who / np.linalg.norm(who) + noise * self._chance.normal(size=128) / 128**0.5
        now = self._clock.now()
        update = TrackletUpdate(
            camera_id=CameraId(camera),
            collection_id=CollectionId("default"),
            tracklet_id=TrackletId(tracklet),
            sequence=1,
            samples=(),
            first_seen=now - timedelta(seconds=for_s),
            last_seen=now,
            box=Box(0, 0, 10, 10),
            frame_count=5,
            ended=False,
        )
        link = self.links.link(update, Embedding.from_raw(vector, self._model), allow_extrapolation=False)
        return link.link_id if link is not None else None


def test_the_same_stranger_is_linked_and_another_is_not(thresholds: Thresholds, clock: ManualClock) -> None:
    """On another camera, and on the same one later; what is told of it is counted."""
    gate = Gate(thresholds, clock)
    ann, ben = gate.stranger(), gate.stranger()
    first = gate.seen(ann, "t1", "door")
    assert first is not None
    assert gate.seen(ann, "t2", "hall") == first
    assert gate.seen(ben, "t3", "hall") not in (None, first)
    clock.advance(60.0)
    assert gate.seen(ann, "t4", "door") == first
    sample = gate.metrics.registry.get_sample_value
    assert sample("tessera_gallery_links_total", {"result": "LINKED"}) == 2
    assert sample("tessera_gallery_links_total", {"result": "NEW"}) == 2


def test_two_whom_one_camera_sees_at_once_are_two(thresholds: Thresholds, clock: ManualClock) -> None:
    """However alike: nobody stands twice before one camera. Before two cameras one may."""
    gate = Gate(thresholds, clock)
    twin = gate.stranger()
    first = gate.seen(twin, "t1", "door")
    clock.advance(1.0)
    assert gate.seen(twin, "t2", "door") != first
    assert gate.seen(twin, "t3", "hall") is not None


def test_a_link_ends_with_its_retention(thresholds: Thresholds, clock: ManualClock) -> None:
    """Who comes back later than that is somebody new; who is seen again in between stays."""
    gate = Gate(thresholds, clock, LinkSettings(retention_s=HOUR_S))
    ann, ben = gate.stranger(), gate.stranger()
    links = gate.seen(ann, "t1"), gate.seen(ben, "t2", "hall")
    clock.advance(0.8 * HOUR_S)
    assert gate.seen(ann, "t3") == links[0]
    clock.advance(0.8 * HOUR_S)
    assert gate.seen(ann, "t4") == links[0]
    assert gate.seen(ben, "t5", "hall") != links[1]


def test_a_tracklet_keeps_its_link(thresholds: Thresholds, clock: ManualClock) -> None:
    """Later looks at it, however poor, take it away from nobody; one that was alone may still join."""
    gate = Gate(thresholds, clock)
    ann = gate.stranger()
    first = gate.seen(ann, "t1", "door")
    poor = gate.seen(ann, "t2", "hall", noise=12.0)
    assert poor not in (None, first)
    assert gate.seen(ann, "t2", "hall") == first
    assert gate.seen(ann, "t2", "hall", noise=12.0) == first


def test_who_is_recognised_leaves(thresholds: Thresholds, clock: ManualClock) -> None:
    """What was remembered of a tracklet that turned out to be somebody enrolled is forgotten."""
    gate = Gate(thresholds, clock)
    ann = gate.stranger()
    first = gate.seen(ann, "t1", "door")
    gate.links.forget(TrackletId("t1"))
    assert gate.seen(ann, "t2", "hall") != first


def test_without_a_retention_nobody_is_linked(thresholds: Thresholds, clock: ManualClock) -> None:
    """0 hours: nothing is remembered."""
    gate = Gate(thresholds, clock, LinkSettings(retention_s=0.0))
    assert gate.seen(gate.stranger(), "t1") is None


def test_the_more_are_remembered_the_more_alike_one_must_be(thresholds: Thresholds, clock: ManualClock) -> None:
    """The rate is of a newcomer, not of a comparison: among many, what sufficed among few does not."""
    few, many = Gate(thresholds, clock), Gate(thresholds, clock)
    model = thresholds.default_model(Modality.FACE)
    bars = [thresholds.for_comparison(model, 0.01, templates=count).score for count in (1, 300)]
    alike = float(np.mean(bars))
    assert bars[0] < alike < bars[1]
    for gate, others in ((few, 0), (many, 299)):
        ann = gate.stranger()
        ann /= np.linalg.norm(ann)
        aside = gate.stranger()
        aside -= (aside @ ann) * ann
        first = gate.seen(ann, "first", noise=0.0)
        for number in range(others):
            gate.seen(gate.stranger(), f"t{number}", "yard" if number % 2 else "lane", for_s=0.0)
        second = alike * ann + np.sqrt(1.0 - alike**2) * aside / np.linalg.norm(aside)
        assert (gate.seen(second, "second", "hall", noise=0.0) == first) is (gate is few)


def test_what_is_remembered_is_bounded(thresholds: Thresholds, clock: ManualClock) -> None:
    """The one that was seen longest ago is forgotten for the next."""
    gate = Gate(thresholds, clock)
    ann = gate.stranger()
    first = gate.seen(ann, "first")
    gate.links._looks.update({TrackletId(f"t{n}"): gate.links._looks[TrackletId("first")] for n in range(MAX_LOOKS)})
    gate.seen(gate.stranger(), "last", "hall")
    assert len(gate.links._looks) == MAX_LOOKS
    assert TrackletId("first") not in gate.links._looks
    assert first is not None
