"""A stream's session by itself: encoders that fail in every way still have every frame answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from encoder_svc.encoders import EncoderFacts, Encoders
from encoder_svc.faces.pipeline import FacePipeline
from encoder_svc.frames import EncodedFrame, EncodeOptions, Picture
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.streams import (
    CreditGrant,
    ExpiredFrame,
    FailedFrame,
    FrameAnswer,
    FrameOutcome,
    SkippedFrame,
    StreamFrame,
    StreamRegister,
    StreamRules,
    StreamSession,
)
from tessera.chassis.clock import ManualClock
from tessera.domain.embedding import Modality
from tessera.domain.errors import (
    ArtifactError,
    ExpiredError,
    ImageRejectedError,
    NotFoundError,
    OverloadedError,
    StreamLimitError,
    StreamSilentError,
    UnavailableError,
)
from tessera.domain.reasons import Reason
from tests.encoder_world import NOW, build_parts

ERROR = OverloadedError("stream queue", 1)


class FailingEncoders(Encoders):
    """Encoders whose every picture ends with the same error, once the test lets it."""

    def __init__(self, error: Exception, clock: ManualClock) -> None:
        super().__init__(self._describe_none, self._load_none, build_parts(clock=clock))
        self._error = error
        self.may_fail = asyncio.Event()
        self.may_fail.set()
        self.gone: asyncio.Event | None = asyncio.Event()

    def _describe_none(self, name: str) -> EncoderFacts:
        raise NotFoundError("encoder", name)

    async def _load_none(self, facts: EncoderFacts) -> FacePipeline:
        raise ArtifactError(facts.manifest.name, "never loads")

    def retired(self, model_id: str) -> asyncio.Event:
        """Told by the test."""
        if self.gone is None:
            raise NotFoundError("encoder", model_id)
        return self.gone

    async def encode(
        self, picture: Picture, wanted: str = "", modality: Modality = Modality.FACE, wanted_persons: str = ""
    ) -> EncodedFrame:
        """Fail, after letting others run."""
        await asyncio.sleep(0)
        await self.may_fail.wait()
        raise self._error


async def _frames(*frames: StreamFrame) -> AsyncIterator[StreamFrame]:
    for frame in frames:
        yield frame


def _frame(frame_id: int, age_s: float = 0.0) -> StreamFrame:
    return StreamFrame(frame_id, b"", NOW - timedelta(seconds=age_s), expires_after_s=1.0)


def _session(
    encoders: FailingEncoders, clock: ManualClock, metrics: EncoderMetrics, idle_s: float = 30.0
) -> StreamSession:
    return StreamSession(
        encoders,
        EncodeOptions(),
        model_id="face-test@1",
        stream_id="s-1",
        rules=StreamRules(credits=1, most_credits=1, idle_s=idle_s, max_streams=1),
        credits=1,
        resume_after_frame_id=0,
        clock=clock,
        metrics=metrics,
    )


async def _answer(error: Exception, frame: StreamFrame) -> FrameOutcome:
    clock, metrics = ManualClock(NOW), EncoderMetrics(CollectorRegistry())
    session = _session(FailingEncoders(error, clock), clock, metrics)
    events = [event async for event in session.run(_frames(frame))]
    assert isinstance(events[0], FrameAnswer)
    assert events[1:] == [CreditGrant(1)]
    assert metrics.registry.get_sample_value("tessera_encoder_credits_in_use") == 0.0
    return events[0].outcome


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OverloadedError("stream queue", 64), SkippedFrame(Reason.NEWER_FRAME)),
        (NotFoundError("encoder", "face-test@1"), SkippedFrame(Reason.SHUTTING_DOWN)),
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


# ---- how a stream ends


class Camera:
    """Frames that a test sends one by one."""

    def __init__(self) -> None:
        self._sent: asyncio.Queue[StreamFrame | None] = asyncio.Queue()

    def send(self, frame: StreamFrame | None) -> None:
        """The next frame; None: the orderly end."""
        self._sent.put_nowait(frame)

    async def frames(self) -> AsyncIterator[StreamFrame]:
        """As they were sent."""
        while (frame := await self._sent.get()) is not None:
            yield frame


class Stream:
    """One open stream with its camera."""

    def __init__(self, idle_s: float = 30.0) -> None:
        clock = ManualClock(NOW)
        self.metrics = EncoderMetrics(CollectorRegistry())
        self.encoders = FailingEncoders(ERROR, clock)
        self.camera = Camera()
        self.session = _session(self.encoders, clock, self.metrics, idle_s)
        self.events = self.session.run(self.camera.frames())

    async def next(self) -> FrameAnswer | CreditGrant:
        """What the server says next."""
        return await asyncio.wait_for(anext(self.events), 10)

    def ended(self, cause: str) -> float | None:
        """How many streams ended so."""
        return self.metrics.registry.get_sample_value("tessera_encoder_streams_ended_total", {"cause": cause})


def _tasks() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]


@pytest.mark.parametrize("cause", ["draining", "replaced"])
async def test_a_stream_that_ends_has_what_is_under_way_answered_first(cause: str) -> None:
    """Then UNAVAILABLE: its client opens a new one. No task is left."""
    stream = Stream()
    stream.encoders.may_fail.clear()
    stream.camera.send(_frame(1))
    first = asyncio.create_task(stream.next())
    while not stream.session._under_way:  # noqa: ASYNC110 - the state belongs to other tasks
        await asyncio.sleep(0)
    assert stream.encoders.gone is not None
    (stream.encoders.draining if cause == "draining" else stream.encoders.gone).set()
    while stream.ended(cause) is None:  # noqa: ASYNC110 - the state belongs to other tasks
        await asyncio.sleep(0)
    assert not first.done()
    stream.encoders.may_fail.set()
    answer = await first
    assert isinstance(answer, FrameAnswer)
    assert await stream.next() == CreditGrant(1)
    with pytest.raises(UnavailableError, match=cause):
        await stream.next()
    assert stream.ended(cause) == 1.0
    await asyncio.sleep(0)
    assert not _tasks()


async def test_a_stream_hears_of_a_replacement_that_came_between_two_frames() -> None:
    """Also when nobody knows the old model any more at that moment: it is UNAVAILABLE and never NOT_FOUND."""
    stream = Stream()
    stream.camera.send(_frame(1))
    await stream.next()
    await stream.next()
    gone, stream.encoders.gone = stream.encoders.gone, None
    assert gone is not None
    stream.camera.send(_frame(2))
    assert isinstance(await stream.next(), FrameAnswer)
    assert await stream.next() == CreditGrant(1)
    gone.set()
    with pytest.raises(UnavailableError, match="replaced"):
        await stream.next()


async def test_a_stream_on_an_encoder_that_has_just_gone_is_told_at_once() -> None:
    """Between its opening and its first frame."""
    stream = Stream()
    stream.encoders.gone = None
    with pytest.raises(UnavailableError, match="replaced"):
        await stream.next()
    assert stream.ended("replaced") == 1.0
    assert not _tasks()


async def test_a_silent_stream_is_ended_but_not_while_a_frame_is_under_way() -> None:
    """A slow encoder is no fault of the camera."""
    stream = Stream(idle_s=0.02)
    stream.encoders.may_fail.clear()
    stream.camera.send(_frame(1))
    first = asyncio.create_task(stream.next())
    await asyncio.wait({first}, timeout=0.1)
    assert not first.done()
    stream.encoders.may_fail.set()
    await first
    await stream.next()
    with pytest.raises(StreamSilentError):
        await stream.next()
    assert stream.ended("silent") == 1.0


async def test_a_client_that_goes_away_leaves_no_task_and_no_credit() -> None:
    """With a frame under way, one without credit, and more that nobody has read."""
    stream = Stream()
    stream.encoders.may_fail.clear()
    async with aclosing(stream.events):
        for frame_id in range(1, 8):
            stream.camera.send(_frame(frame_id))
        first = asyncio.create_task(stream.next())
        while stream.session._last_frame_id < 3:  # noqa: ASYNC110 - the state belongs to other tasks
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
    await asyncio.sleep(0)
    assert not _tasks()
    assert stream.metrics.registry.get_sample_value("tessera_encoder_credits_in_use") == 0.0


async def test_frames_that_the_client_dropped_are_counted() -> None:
    """As it says."""
    stream = Stream()
    for frame_id, dropped in ((1, 0), (2, 3), (5, 2)):
        frame = StreamFrame(frame_id, b"", NOW, 1.0, dropped_since_last=dropped)
        stream.camera.send(frame)
        while not isinstance(await stream.next(), CreditGrant):
            pass
    assert stream.metrics.registry.get_sample_value("tessera_encoder_client_drops_total") == 5.0
    await stream.events.aclose()


def test_the_register_counts_streams_and_refuses_one_too_many() -> None:
    """A place that is left can be taken, also after an error."""
    metrics = EncoderMetrics(CollectorRegistry())
    register = StreamRegister(1, metrics)
    with register:
        assert metrics.registry.get_sample_value("tessera_encoder_streams") == 1.0
        with pytest.raises(StreamLimitError), register:
            pass
    with pytest.raises(ZeroDivisionError), register:
        raise ZeroDivisionError
    with register:
        assert metrics.registry.get_sample_value("tessera_encoder_streams") == 1.0
    assert metrics.registry.get_sample_value("tessera_encoder_streams") == 0.0
