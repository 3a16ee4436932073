"""Capture times from a stream's own clock: right to the network's least delay, whatever delays and clocks do."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from camera_ingest.jump_watch import JumpWatch
from camera_ingest.metrics import IngestMetrics
from camera_ingest.sources.file_time import FileTime, Playout
from camera_ingest.sources.stream_clock import ClockKind, StreamClock, lower_slope
from tessera.chassis.clock import ManualClock

BEGAN = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
LEAST_DELAY_S = 0.02


class JumpingClock(ManualClock):
    """A wall clock that can be set."""

    def set_ahead(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


class Link:
    """A camera of 25 frames a second behind a network, both simulated; its true capture times are known."""

    def __init__(self, *, drift: float = 0.0, sender_ahead_s: float | None = None, seed: int = 1) -> None:
        self.clock = JumpingClock(BEGAN)
        self.stamps = StreamClock(self.clock)
        self.drift = drift
        self.sender_ahead_s = sender_ahead_s
        self.extra_delay_s = 0.0
        self.captured_s = 0.0
        self._chance = random.Random(seed)
        self._arrived_s = 0.0

    def frame(self) -> tuple[float, datetime]:
        """The next frame; returns by how much its capture was told too late, and what was told in UTC."""
        self.captured_s += 0.04
        delay_s = LEAST_DELAY_S + self._chance.expovariate(50.0) + self.extra_delay_s
        self._arrived_s = max(self._arrived_s, self.captured_s + delay_s)
        self.clock.advance(self._arrived_s - self.clock.monotonic_s())
        stamp_s = 7000.0 + self.captured_s * (1.0 + self.drift)
        sender = None
        if self.sender_ahead_s is not None:
            sender = BEGAN.timestamp() + self.captured_s + self.sender_ahead_s
        self.stamps.observe(stamp_s, sender)
        captured, captured_s = self.stamps.moment(stamp_s)
        return captured_s - self.captured_s, captured

    def run(self, seconds: float) -> list[float]:
        return [self.frame()[0] for _ in range(round(seconds * 25))]


def test_jitter_is_taken_off() -> None:
    """After a few seconds a capture is told to the network's least delay, though arrivals spread over 100 ms."""
    late = Link().run(30)[250:]
    assert max(late) - LEAST_DELAY_S < 0.005
    assert min(late) >= -0.001


@pytest.mark.parametrize("ppm", [-200, -50, 50, 200])
def test_drift_is_found(ppm: int) -> None:
    """A camera whose clock runs fast or slow is followed for minutes, and the drift is told."""
    link = Link(drift=ppm * 1e-6)
    late = link.run(300)[2000:]
    assert max(late) - LEAST_DELAY_S < 0.01
    assert min(late) > -0.01
    report = link.stamps.report()
    assert report.kind is ClockKind.STREAM
    assert report.drift_ppm == pytest.approx(ppm, abs=25)


def test_a_burst_of_delay_moves_nothing() -> None:
    """While the network holds frames back for a second, they are told as old as they are; then all is as before."""
    link = Link()
    link.run(60)
    link.extra_delay_s = 1.0
    late = link.run(5)
    assert link.stamps.report().delay_s > 0.9
    assert max(late) - LEAST_DELAY_S < 0.01
    link.extra_delay_s = 0.0
    assert max(link.run(20)) - LEAST_DELAY_S < 0.01


def test_a_way_that_got_longer_for_good_is_accepted() -> None:
    """Frames are not taken for seconds old for ever: after ten seconds the longer way is the way."""
    link = Link()
    link.run(60)
    link.extra_delay_s = 3.0
    late = link.run(30)
    assert late[0] < 0.1
    assert late[-1] == pytest.approx(3.0 + LEAST_DELAY_S, abs=0.02)


def test_stamps_that_are_counted_and_no_clock_are_given_up() -> None:
    """A camera that claims 25 frames a second and sends 15: after some corrections arrivals count, and that is told."""
    link = Link(drift=-0.4)
    link.run(120)
    assert link.stamps.report().kind is ClockKind.ARRIVAL
    assert all(0 <= late < 0.2 for late in link.run(5))


def test_a_sender_whose_clock_is_right_is_believed() -> None:
    """Its time is the frame's, so that the network's least delay is taken off as well."""
    link = Link(sender_ahead_s=0.0)
    for _ in range(100):
        _, captured = link.frame()
    assert (captured - BEGAN).total_seconds() == pytest.approx(link.captured_s, abs=1e-3)
    report = link.stamps.report()
    assert report.kind is ClockKind.SENDER
    assert report.sender_offset_s == pytest.approx(-LEAST_DELAY_S, abs=0.01)


@pytest.mark.parametrize("ahead_s", [3600.0, 0.5, -2.5, -86400.0])
def test_a_sender_whose_clock_is_wrong_is_told_and_not_believed(ahead_s: float) -> None:
    """Capture times stay ours; the offset is in the report."""
    link = Link(sender_ahead_s=ahead_s)
    for _ in range(100):
        _, captured = link.frame()
    assert abs((captured - BEGAN).total_seconds() - link.captured_s) < 0.1
    report = link.stamps.report()
    assert report.kind is ClockKind.STREAM
    assert report.sender_offset_s == pytest.approx(ahead_s - LEAST_DELAY_S, abs=0.05)


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_jump_of_the_wall_clock_touches_no_deadline(jump_s: float) -> None:
    """Monotonic times go on as they were; UTC follows the clock at once, backwards too, and the jump is counted."""
    link = Link()
    link.run(10)
    before = link.frame()[1]
    link.clock.set_ahead(jump_s)
    late, after = link.frame()
    assert late - LEAST_DELAY_S < 0.05
    assert (after - before).total_seconds() == pytest.approx(jump_s + 0.04, abs=0.1)
    assert link.stamps.report().host_jumps == 1
    later = [link.frame()[1] for _ in range(10)]
    assert later == sorted(set(later))
    assert link.stamps.report().host_jumps == 1


def test_a_jump_is_counted_once_and_a_turned_clock_is_none() -> None:
    """A time server that turns the clock by half a second is left alone; what jumps is counted for the process."""
    clock, metrics = JumpingClock(BEGAN), IngestMetrics(CollectorRegistry())
    watch = JumpWatch(clock, metrics)
    for moved_s, jumps in ((0.0, 0), (0.5, 0), (3600.0, 1), (0.0, 1), (-3600.0, 2)):
        clock.advance(1.0)
        clock.set_ahead(moved_s)
        watch.look()
        assert metrics.registry.get_sample_value("tessera_ingest_clock_jumps_total") == jumps


def test_a_stream_that_begins_anew_is_mapped_anew() -> None:
    """Stamps that jump, as after the restart of a camera's encoder, put no frame into the past or the future."""
    link = Link()
    link.run(30)
    link.stamps.observe(5.0)
    _, captured_s = link.stamps.moment(5.0)
    assert captured_s == pytest.approx(link.clock.monotonic_s(), abs=0.2)


@given(st.lists(st.floats(0, 0.5), min_size=2, max_size=60), st.integers(0, 5))
def test_capture_times_grow_and_are_never_in_the_future(delays: list[float], seed: int) -> None:
    """Whatever the delays: later than the one before, and no later than now."""
    link = Link(seed=seed)
    told = []
    for delay_s in delays:
        link.extra_delay_s = delay_s
        late, captured = link.frame()
        told.append(captured)
        assert late + link.captured_s <= link.clock.monotonic_s() + 1e-9
    assert told == sorted(set(told))


@given(st.lists(st.floats(0, 10), min_size=3, max_size=30))
def test_the_slope_is_that_of_the_best_line_below(gaps: list[float]) -> None:
    """As a naive search over all pairs finds it: the line under all points whose distances to them sum to the least."""
    points = [(float(at), gap) for at, gap in enumerate(gaps)]

    def cost(slope: float, cut: float) -> float:
        return sum(gap - (slope * at + cut) for at, gap in points)

    below = []
    for (left, low), (right, high) in itertools.combinations(points, 2):
        slope = (high - low) / (right - left)
        cut = low - slope * left
        if all(gap >= slope * at + cut - 1e-9 for at, gap in points):
            below.append(cost(slope, cut))
    found = lower_slope(points)
    cut = min(gap - found * at for at, gap in points)
    assert cost(found, cut) == pytest.approx(min(below), abs=1e-6)


def test_a_recording_has_its_own_time() -> None:
    """Frames are due as far apart as they were captured, from the moment that the first one is asked for."""
    clock = ManualClock(BEGAN)
    time = FileTime(clock)
    clock.advance(5)
    assert time.due(100.0) == (BEGAN + timedelta(seconds=5), 5.0)
    assert time.due(100.5) == (BEGAN + timedelta(seconds=5.5), 5.5)


def test_a_recording_that_cannot_be_played_in_time_is_played_later() -> None:
    """A frame that is late by more than is allowed moves the rest; one that is a little late does not."""
    clock = ManualClock(BEGAN)
    time = FileTime(clock, longest_late_s=0.5)
    moments = []
    for at_s, wait_s in ((10.0, 0.4), (10.2, 3.0), (10.4, 0.0), (10.6, 0.0)):
        moments.append(time.due(at_s))
        clock.advance(wait_s)
    assert [due_s for _, due_s in moments] == pytest.approx([0.0, 0.2, 3.4, 3.6])
    assert [(at - BEGAN).total_seconds() for at, _ in moments] == pytest.approx([0.0, 0.2, 3.4, 3.6])


def test_a_recording_that_is_read_is_never_late() -> None:
    """Its time is its own: what was captured a second apart stays a second apart, however long the reading takes."""
    clock = ManualClock(BEGAN)
    time = FileTime(clock)
    time.due(0.0)
    clock.advance(60)
    assert time.due(1.0)[0] == BEGAN + timedelta(seconds=1)


def test_a_recording_that_is_read_again_goes_on_behind_its_last_frame() -> None:
    """Read faster than it was captured it is ahead of the clock: its time never runs backwards."""
    clock = ManualClock(BEGAN)
    time = FileTime(clock)
    first = [time.due(at_s)[1] for at_s in (0.0, 0.2, 0.4)]
    clock.advance(0.1)
    time.begin_anew()
    again = [time.due(at_s)[1] for at_s in (0.0, 0.2, 0.4)]
    assert first + again == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    clock.advance(60)
    time.begin_anew()
    assert time.due(0.0)[1] == pytest.approx(60.1)


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_recording_follows_a_wall_clock_that_is_set(jump_s: float) -> None:
    """What is captured after it is told by the clock as it is then; when it is due does not change."""
    clock = JumpingClock(BEGAN)
    time = FileTime(clock)
    time.due(0.0)
    clock.set_ahead(jump_s)
    assert time.due(1.0) == (BEGAN + timedelta(seconds=jump_s + 1.0), 1.0)


def test_heaps_are_played_evenly_and_a_gap_moves_what_follows() -> None:
    """Two seconds that came at once are due over two seconds; after a gap the rest is due later by as much."""
    clock = ManualClock(BEGAN)
    playout = Playout(clock, (BEGAN - timedelta(seconds=6)).timestamp())
    due = [playout.due(number / 10)[1] for number in range(20)]
    assert due == pytest.approx([number / 10 for number in range(20)])
    clock.advance(4.0)
    captured, due_s = playout.due(2.0)
    assert due_s == 4.0
    assert captured == BEGAN - timedelta(seconds=4)
    assert playout.due(2.1)[1] == pytest.approx(4.1)


def test_a_playlist_that_tells_nonsense_is_not_believed() -> None:
    """A capture an hour ago, or in the future, is none."""
    for ago_s in (3600, -5):
        playout = Playout(ManualClock(BEGAN), (BEGAN - timedelta(seconds=ago_s)).timestamp())
        assert not playout.is_told
        assert playout.due(0.0)[0] == BEGAN
