"""A stream's session by itself: an engine that fails in every way still answers every frame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from encoder_svc.engine import Engine
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.pipeline import EncodedFrame, EncodeOptions, FacePipeline
from encoder_svc.scheduler import OverflowPolicy, QueueRule, Scheduler, WorkClass
from encoder_svc.streams import (
    CreditGrant,
    ExpiredFrame,
    FailedFrame,
    FrameAnswer,
    FrameOutcome,
    SkippedFrame,
    StreamFrame,
    StreamRules,
    StreamSession,
)
from tessera.chassis.clock import ManualClock
from tessera.client.stream_values import KnownTracklet
from tessera.domain.errors import ArtifactError, ExpiredError, ImageRejectedError, OverloadedError, UnavailableError
from tessera.domain.reasons import Reason

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _no_pipeline() -> FacePipeline:
    raise ArtifactError("pipeline", "this engine never loads")


class FailingEngine(Engine):
    """An engine whose every picture ends with the same error."""

    def __init__(self, error: Exception, clock: ManualClock, metrics: EncoderMetrics) -> None:
        rule = QueueRule(1, OverflowPolicy.DROP_OLDEST, every_nth=1)
        scheduler = Scheduler(dict.fromkeys(WorkClass, rule), clock, metrics, on_start=lambda: None)
        limits = dict.fromkeys(WorkClass, 1)
        super().__init__(_no_pipeline, scheduler, decode_threads=1, max_decoding=limits, clock=clock, metrics=metrics)
        self._error = error

    async def encode(
        self,
        data: bytes,
        options: EncodeOptions,
        work_class: WorkClass,
        known: Sequence[KnownTracklet] = (),
        expires_at_s: float | None = None,
    ) -> EncodedFrame:
        """Fail, after letting others run."""
        await asyncio.sleep(0)
        raise self._error


async def _frames(*frames: StreamFrame) -> AsyncIterator[StreamFrame]:
    for frame in frames:
        yield frame


def _frame(frame_id: int, age_s: float = 0.0) -> StreamFrame:
    return StreamFrame(frame_id, b"", NOW - timedelta(seconds=age_s), expires_after_s=1.0)


async def _answer(error: Exception, frame: StreamFrame) -> FrameOutcome:
    clock, metrics = ManualClock(NOW), EncoderMetrics(CollectorRegistry())
    session = StreamSession(
        FailingEngine(error, clock, metrics),
        EncodeOptions(),
        rules=StreamRules(credits=1, idle_s=30.0, max_streams=1),
        resume_after_frame_id=0,
        clock=clock,
        metrics=metrics,
    )
    events = [event async for event in session.run(_frames(frame))]
    assert isinstance(events[0], FrameAnswer)
    assert events[1:] == [CreditGrant(1)]
    assert metrics.registry.get_sample_value("tessera_encoder_credits_in_use") == 0.0
    return events[0].outcome


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OverloadedError("stream queue", 64), SkippedFrame(Reason.NEWER_FRAME)),
        (UnavailableError("encoder", "draining"), SkippedFrame(Reason.SHUTTING_DOWN)),
        (ExpiredError("detection"), ExpiredFrame(0.25)),
        (ImageRejectedError(Reason.NOT_AN_IMAGE, "torn"), FailedFrame(Reason.NOT_AN_IMAGE, "torn")),
    ],
)
async def test_each_failure_has_its_answer_and_gives_the_credit_back(error: Exception, outcome: FrameOutcome) -> None:
    """What goes wrong with one frame stays in its answer."""
    assert await _answer(error, _frame(1, age_s=0.25)) == outcome


async def test_a_defect_is_answered_with_an_incident_and_nothing_else() -> None:
    """INTERNAL; the text names an incident and not the cause."""
    outcome = await _answer(ZeroDivisionError("secret"), _frame(1))
    assert isinstance(outcome, FailedFrame)
    assert outcome.reason is Reason.INTERNAL
    assert "incident" in outcome.detail
    assert "secret" not in outcome.detail


async def test_a_frame_that_arrives_too_late_is_not_even_decoded() -> None:
    """Its answer says how old it was."""
    assert await _answer(AssertionError("must not be called"), _frame(1, age_s=3.0)) == ExpiredFrame(3.0)


async def test_a_camera_whose_clock_runs_ahead_is_taken_at_its_arrival() -> None:
    """A capture time in the future is no reason to drop a frame."""
    assert await _answer(OverloadedError("q", 1), _frame(1, age_s=-50.0)) == SkippedFrame(Reason.NEWER_FRAME)
