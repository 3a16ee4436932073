"""The account balances at every moment, and each dropped frame has its reason."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_fakes import moment

from camera_ingest.accounting import FrameAccount
from camera_ingest.backlog import Backlog, SampledFrame
from camera_ingest.backoff import Backoff
from camera_ingest.sampling import Sampler
from tessera.client.stream_values import FrameOutcome
from tessera.domain.reasons import Reason

skips = st.sampled_from([Reason.NEWER_FRAME, Reason.NO_CREDIT, Reason.ENCODER_UNAVAILABLE])
steps = st.one_of(
    st.just("enter"), st.tuples(st.integers(1, 30), st.sampled_from(FrameOutcome), skips), st.just("skip_all")
)


@given(st.lists(steps, max_size=60))
def test_the_account_balances_at_every_moment(done: list[object]) -> None:
    """Whatever happens in whatever order, twice or to frames that never were: nothing is lost or counted twice."""
    told: Counter[FrameOutcome] = Counter()
    account = FrameAccount(lambda outcome, _reason: told.update([outcome]))
    for step in done:
        if step == "enter":
            account.enter()
        elif step == "skip_all":
            account.skip_all(Reason.SHUTTING_DOWN)
        else:
            account.end(*step)  # type: ignore[misc]
        now = account.now()
        assert now.sampled == now.encoded + now.skipped + now.expired + now.failed + now.in_flight
        assert now.skipped == sum(now.skip_counts.values()) == told[FrameOutcome.SKIPPED]


def test_a_late_answer_changes_nothing() -> None:
    """A frame that was counted as lost stays so when its answer comes after all."""
    account = FrameAccount()
    frame_id = account.enter()
    account.skip_all(Reason.ENCODER_UNAVAILABLE)
    assert not account.end(frame_id, FrameOutcome.ENCODED)
    assert account.now().encoded == 0


def frame(frame_id: int) -> SampledFrame:
    return SampledFrame(frame_id, moment(), 0.0, b"")


async def test_the_newest_frame_wins() -> None:
    """The backlog holds one frame; whoever puts learns which one was pushed out."""
    backlog = Backlog()
    first, second = frame(1), frame(2)
    assert backlog.put(first) is None
    assert backlog.put(second) is first
    await backlog.wait()
    assert backlog.take() is second
    assert backlog.take() is None


@pytest.mark.parametrize(("source_hz", "rate_hz"), [(30.0, 5.0), (25.0, 5.0), (15.0, 4.0), (29.97, 10.0), (7.0, 5.0)])
def test_the_sampled_rate_is_the_target(source_hz: float, rate_hz: float) -> None:
    """Over a minute the mean rate is right, whether the camera's rate is a multiple of it or not."""
    sampler = Sampler(rate_hz)
    taken = sum(sampler.wants(moment(n / source_hz)) for n in range(int(60 * source_hz)))
    assert taken == pytest.approx(60 * rate_hz, rel=0.02)


def test_a_slow_camera_gives_every_frame() -> None:
    """A camera slower than the target rate loses nothing."""
    sampler = Sampler(5.0)
    assert all(sampler.wants(moment(n / 2)) for n in range(20))


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_clock_jump_does_not_stop_sampling(jump: timedelta) -> None:
    """After a step of the clock, either way, the next frame is sampled and the rate holds."""
    sampler = Sampler(5.0)
    assert sampler.wants(moment())
    assert sampler.wants(moment() + jump)
    assert not sampler.wants(moment(0.1) + jump)
    assert sampler.wants(moment(0.2) + jump)


@given(st.integers(0, 200))
def test_backoff_stays_in_its_range(attempts: int) -> None:
    """Every delay lies between the least and the longest, however many attempts there were."""
    backoff = Backoff(1.0, 30.0, 0.5)
    delays = [backoff.next_s() for _ in range(attempts + 1)]
    assert all(0.5 <= delay <= 30.0 for delay in delays)
    assert delays[0] <= 1.0


def test_fifty_cameras_do_not_come_in_step() -> None:
    """After the same loss, no two of fifty wait for the same time, and they spread over the range."""
    delays = []
    for _ in range(50):
        backoff = Backoff(1.0, 30.0, 0.5)
        delays.append([backoff.next_s() for _ in range(5)][-1])
    assert len(set(delays)) == 50
    assert max(delays) - min(delays) > 5.0
