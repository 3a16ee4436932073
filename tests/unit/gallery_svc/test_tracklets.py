"""A tracklet's answer grows with it, does not flap, and is forgotten in time."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from gallery_svc.metrics import GalleryMetrics
from gallery_svc.tracklets import KEPT_SAMPLES, Standing, Tracklets, TrackletState, Verdict, next_standing
from tessera.chassis.clock import ManualClock
from tessera.client.stream_values import TrackletSample, TrackletUpdate
from tessera.domain.decision import Decision, Outcome
from tessera.domain.embedding import Embedding
from tessera.domain.fusion import FRAME_EXPONENTS
from tessera.domain.ids import CameraId, CollectionId, ModelId, SubjectId, TrackletId
from tessera.domain.observation import Box, Quality
from tessera.domain.reasons import Reason

AT = datetime(2026, 11, 22, tzinfo=UTC)
ADA, BOB = Verdict(Outcome.MATCH, SubjectId("ada")), Verdict(Outcome.MATCH, SubjectId("bob"))
UNKNOWN, INCONCLUSIVE = Verdict(Outcome.UNKNOWN), Verdict(Outcome.INCONCLUSIVE)
VERDICTS = st.sampled_from([ADA, BOB, UNKNOWN, INCONCLUSIVE])


def _told(*verdicts: Verdict) -> list[Standing]:
    """What is told after each evaluation."""
    standing: Standing | None = None
    told = []
    for verdict in verdicts:
        standing = next_standing(standing, verdict, Decision(verdict.outcome, (), None, None, None))
        told.append(standing)
    return told


def _sample(
    overall: float, vector: list[float], reasons: tuple[Reason, ...] = (), after_s: float = 0.0
) -> TrackletSample:
    quality = Quality(1.0, 0.5, 0.5, 1.0, 1.0, overall, reasons)
    embedding = Embedding.from_raw(vector, ModelId("m@1"))
    return TrackletSample(AT + timedelta(seconds=after_s), embedding, quality, Box(0, 0, 1, 1))


def _update(sequence: int, *samples: TrackletSample) -> TrackletUpdate:
    return TrackletUpdate(
        CameraId("c"), CollectionId("d"), TrackletId("t"), sequence, samples, AT, AT, Box(0, 0, 1, 1), 1, False
    )


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([INCONCLUSIVE, ADA], [INCONCLUSIVE, ADA]),
        ([UNKNOWN, ADA, ADA], [UNKNOWN, UNKNOWN, ADA]),
        ([ADA, BOB, ADA, BOB], [ADA, ADA, ADA, ADA]),
        ([ADA, BOB, UNKNOWN, BOB, BOB], [ADA, ADA, ADA, ADA, BOB]),
        ([ADA, INCONCLUSIVE, INCONCLUSIVE], [ADA, ADA, ADA]),
        ([ADA, BOB, INCONCLUSIVE, BOB], [ADA, ADA, ADA, BOB]),
    ],
)
def test_another_answer_must_win_twice(verdicts: list[Verdict], expected: list[Verdict]) -> None:
    """The first conclusive answer stands at once; after that only two wins in a row change it."""
    assert [standing.verdict for standing in _told(*verdicts)] == expected


@given(st.lists(VERDICTS, min_size=1, max_size=30))
def test_the_revision_grows_exactly_when_the_answer_changes(verdicts: list[Verdict]) -> None:
    """By one, and never otherwise."""
    told = _told(*verdicts)
    assert told[0].revision == 1
    for before, after in itertools.pairwise(told):
        assert after.revision - before.revision == int(after.verdict != before.verdict)


@given(st.lists(VERDICTS, min_size=1, max_size=30))
def test_a_conclusive_answer_is_never_taken_back(verdicts: list[Verdict]) -> None:
    """Once somebody or nobody was recognised, the answer is not INCONCLUSIVE again."""
    conclusive = [standing.verdict.outcome is not Outcome.INCONCLUSIVE for standing in _told(*verdicts)]
    assert conclusive == sorted(conclusive)


def test_the_probe_is_the_quality_weighted_mean() -> None:
    """By hand: the second sample's size makes it weigh a third of the first, so 3 x (1, 0) + 1 x (0, 1), normalised."""
    good, small = _sample(0.5, [1.0, 0.0]), _sample(0.5, [0.0, 1.0])
    size = (1 / 3) ** (1 / FRAME_EXPONENTS["size"])
    state = TrackletState().with_samples(_update(1, good, replace(small, quality=replace(small.quality, size=size))))
    expected = np.array([3.0, 1.0]) / np.sqrt(10.0)
    np.testing.assert_allclose(state.probe().vector, expected, atol=1e-6)


def test_a_tracklet_keeps_its_best_samples() -> None:
    """A bounded number, best first, while all that were usable are counted."""
    state = TrackletState()
    for n in range(40):
        state = state.with_samples(_update(n + 1, _sample(n / 100, [1.0, float(n)], after_s=n)))
    assert [sample.quality.overall for sample in state.samples] == [n / 100 for n in range(39, 39 - KEPT_SAMPLES, -1)]
    assert (state.usable_samples, state.newest_capture) == (40, AT + timedelta(seconds=39))


def test_one_good_sample_makes_a_probe_good() -> None:
    """Only a tracklet of nothing but weak samples is weak, and says why with its best one."""
    dark, blurred = (Reason.LOW_BRIGHTNESS,), (Reason.LOW_SHARPNESS,)
    weak = TrackletState().with_samples(_update(1, _sample(0.1, [1.0], dark), _sample(0.2, [1.0], blurred)))
    assert weak.weaknesses() == blurred
    assert weak.with_samples(_update(2, _sample(0.15, [1.0]))).weaknesses() == ()


def test_tracklets_are_bounded_by_number_and_age() -> None:
    """The one that was silent longest makes room, and every one that is silent too long goes; each is counted."""
    clock, registry = ManualClock(AT), CollectorRegistry()
    tracklets = Tracklets(3, 60.0, clock, GalleryMetrics(registry))
    for name in "abcd":
        tracklets.keep(TrackletId(name), TrackletState(sequence=1))
        clock.advance(10)
    assert tracklets.find(TrackletId("a")) is None
    tracklets.keep(TrackletId("b"), TrackletState(sequence=2))
    clock.advance(45)
    assert tracklets.find(TrackletId("c")) is None
    held = tracklets.find(TrackletId("b"))
    assert held is not None
    assert held.sequence == 2

    def forgotten(why: str) -> float | None:
        return registry.get_sample_value("tessera_gallery_tracklets_forgotten_total", {"why": why})

    assert (forgotten("full"), forgotten("silent")) == (1, 1)
    assert registry.get_sample_value("tessera_gallery_tracklets") == 2
