"""The door: bounded queues with a named overflow, a window that never loses a place, memory that is given back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from encoder_svc.admission import Admission, Gate, OverflowPolicy, PixelBudget, QueueRule
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.scheduling.work import WorkClass
from tessera.chassis.clock import ManualClock, SystemClock
from tessera.domain.errors import ExpiredError, OverloadedError

INTERACTIVE, STREAM = WorkClass.INTERACTIVE, WorkClass.STREAM
REFUSE, DROP = OverflowPolicy.REFUSE_NEWEST, OverflowPolicy.DROP_OLDEST


def _gate(window: int = 1, limit: int = 10, overflow: OverflowPolicy = REFUSE) -> Gate:
    return Gate(STREAM, QueueRule(limit, overflow, window), EncoderMetrics(CollectorRegistry()), SystemClock())


async def _settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not condition():  # noqa: ASYNC110 - the state belongs to other tasks
            await asyncio.sleep(0)


async def _waiting(gate: Gate, count: int = 1) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(gate.enter(None)) for _ in range(count)]
    await _settled(lambda: len(gate.waiting) == count)
    return tasks


# ---- the window


async def test_the_window_lets_so_many_in_and_the_rest_in_their_order() -> None:
    """Whoever leaves lets the next one in."""
    gate = _gate(window=2)
    await gate.enter(None)
    await gate.enter(None)
    third, fourth = await _waiting(gate, 2)
    gate.leave()
    await third
    assert (gate.inside, len(gate.waiting), fourth.done()) == (2, 1, False)
    gate.leave()
    await fourth
    gate.leave()
    gate.leave()
    assert (gate.inside, len(gate.waiting)) == (0, 0)


async def test_a_full_queue_refuses_the_newest() -> None:
    """At once; those who wait keep their places, and it is counted."""
    gate = _gate(limit=1)
    await gate.enter(None)
    (waiting,) = await _waiting(gate)
    with pytest.raises(OverloadedError, match="stream queue"):
        await gate.enter(None)
    gate.leave()
    await waiting
    gate.leave()
    labels = {"work_class": "stream", "policy": "refuse_newest"}
    assert gate.metrics.registry.get_sample_value("tessera_encoder_queue_overflows_total", labels) == 1.0


async def test_a_full_queue_of_frames_drops_the_oldest() -> None:
    """Whose caller hears of it; the newest frame is worth most."""
    gate = _gate(limit=2, overflow=DROP)
    await gate.enter(None)
    oldest, other = await _waiting(gate, 2)
    newest = asyncio.create_task(gate.enter(None))
    with pytest.raises(OverloadedError):
        await oldest
    gate.leave()
    await other
    gate.leave()
    await newest
    gate.leave()
    labels = {"work_class": "stream", "policy": "drop_oldest"}
    assert gate.metrics.registry.get_sample_value("tessera_encoder_queue_overflows_total", labels) == 1.0
    assert gate.metrics.registry.get_sample_value("tessera_encoder_queue_depth", {"work_class": "stream"}) == 0.0
    assert gate.inside == 0


async def test_who_is_wanted_no_longer_leaves_the_queue() -> None:
    """Its time ran out while it waited; its place in the queue is free."""
    gate = _gate(limit=1)
    await gate.enter(None)
    with pytest.raises(ExpiredError):
        await gate.enter(0.001)
    assert len(gate.waiting) == 0
    (waiting,) = await _waiting(gate)
    gate.leave()
    await waiting
    gate.leave()
    assert gate.inside == 0


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
async def test_who_comes_too_late_takes_no_place(timeout_s: float) -> None:
    """Neither in the window nor in the queue, where it would push out another."""
    gate = _gate(limit=1, overflow=DROP)
    with pytest.raises(ExpiredError):
        await gate.enter(timeout_s)
    await gate.enter(None)
    (waiting,) = await _waiting(gate)
    with pytest.raises(ExpiredError):
        await gate.enter(timeout_s)
    gate.leave()
    await waiting
    gate.leave()
    assert gate.inside == 0


# ---- nothing is lost


async def test_a_place_given_to_one_who_goes_away_is_passed_on() -> None:
    """Cancelled in the very moment of being let in."""
    gate = _gate()
    await gate.enter(None)
    gone, stays = await _waiting(gate, 2)
    gate.leave()
    gone.cancel()
    await stays
    gate.leave()
    assert gone.cancelled()
    assert (gate.inside, len(gate.waiting)) == (0, 0)


async def test_one_who_went_away_is_passed_over() -> None:
    """Cancelled before it was its turn, and not yet gone when the turn comes."""
    gate = _gate()
    await gate.enter(None)
    gone, stays = await _waiting(gate, 2)
    gone.cancel()
    gate.leave()
    await stays
    gate.leave()
    assert (gate.inside, len(gate.waiting)) == (0, 0)


@pytest.mark.parametrize("overflow", [REFUSE, DROP])
@pytest.mark.parametrize("seed", range(4))
async def test_no_place_is_lost_whatever_happens(seed: int, overflow: OverflowPolicy) -> None:
    """Hundreds that come, wait, expire, are pushed out and go away at any moment; in the end everything is free."""
    chance, gate = random.Random(seed), _gate(window=3, limit=8, overflow=overflow)
    most = 0

    async def come() -> None:
        nonlocal most
        await gate.enter(chance.choice([None, None, 0.0005, 0.002]))
        most = max(most, gate.inside)
        try:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        finally:
            gate.leave()

    tasks: list[asyncio.Task[None]] = []
    for _ in range(600):
        tasks.append(asyncio.create_task(come()))
        if chance.random() < 0.5:
            chance.choice(tasks[-12:]).cancel()
        if chance.random() < 0.4:
            await asyncio.sleep(0)
    async with asyncio.timeout(60):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends} <= {type(None), asyncio.CancelledError, ExpiredError, OverloadedError}
    assert None in ends
    assert (gate.inside, len(gate.waiting), most) == (0, 0, 3)


# ---- decoded pictures


class _Holder:
    """One picture that holds memory until it is told to go."""

    def __init__(self, budget: PixelBudget, size: int, work_class: WorkClass = STREAM) -> None:
        self._may_go = asyncio.Event()
        self.holds = False
        self.task = asyncio.create_task(self._hold(budget, size, work_class))

    async def _hold(self, budget: PixelBudget, size: int, work_class: WorkClass) -> None:
        async with budget.held(work_class, size):
            self.holds = True
            await self._may_go.wait()
        self.holds = False

    async def go(self) -> None:
        """Give the memory back."""
        self._may_go.set()
        await self.task


async def test_pictures_wait_for_memory() -> None:
    """Until enough was given back; in their order."""
    budget = PixelBudget(100)
    first, second, third = _Holder(budget, 60), _Holder(budget, 60), _Holder(budget, 10)
    await _settled(lambda: first.holds)
    assert (budget.used_bytes, second.holds, third.holds) == (60, False, False)
    await first.go()
    await _settled(lambda: second.holds and third.holds)
    assert budget.used_bytes == 70
    await second.go()
    await third.go()
    assert budget.used_bytes == 0


async def test_a_picture_larger_than_the_budget_is_let_in_alone() -> None:
    """It is not refused, and nothing else is decoded beside it."""
    budget = PixelBudget(100)
    small, large = _Holder(budget, 1), _Holder(budget, 5000)
    await _settled(lambda: small.holds)
    assert not large.holds
    await small.go()
    after = _Holder(budget, 1)
    await _settled(lambda: large.holds)
    assert (budget.used_bytes, after.holds) == (100, False)
    await large.go()
    await _settled(lambda: after.holds)
    await after.go()
    assert budget.used_bytes == 0


async def test_verify_calls_get_memory_first() -> None:
    """Before frames that came before them."""
    budget = PixelBudget(100)
    first = _Holder(budget, 100)
    await _settled(lambda: first.holds)
    frame = _Holder(budget, 100)
    await asyncio.sleep(0)
    verify = _Holder(budget, 100, INTERACTIVE)
    await asyncio.sleep(0)
    await first.go()
    await _settled(lambda: verify.holds)
    assert not frame.holds
    await verify.go()
    await _settled(lambda: frame.holds)
    await frame.go()


async def test_one_who_goes_away_keeps_nobody_from_the_memory() -> None:
    """A large picture at the head of the line that is wanted no longer lets the small ones in."""
    budget = PixelBudget(100)
    first = _Holder(budget, 50)
    await _settled(lambda: first.holds)
    large = _Holder(budget, 100)
    await asyncio.sleep(0)
    small = _Holder(budget, 50)
    await asyncio.sleep(0)
    assert not small.holds
    large.task.cancel()
    await _settled(lambda: small.holds)
    await first.go()
    await small.go()
    assert budget.used_bytes == 0


@pytest.mark.parametrize("seed", range(4))
async def test_no_memory_is_lost_whatever_happens(seed: int) -> None:
    """Hundreds of all sizes and classes, many of which go away at any moment; in the end all of it is free."""
    chance, budget = random.Random(seed), PixelBudget(100)
    most = 0

    async def come() -> None:
        nonlocal most
        async with budget.held(chance.choice(list(WorkClass)), chance.choice([0, 1, 30, 60, 100, 900])):
            most = max(most, budget.used_bytes)
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    for _ in range(600):
        tasks.append(asyncio.create_task(come()))
        if chance.random() < 0.5:
            chance.choice(tasks[-12:]).cancel()
        if chance.random() < 0.4:
            await asyncio.sleep(0)
    async with asyncio.timeout(60):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends} == {type(None), asyncio.CancelledError}
    assert budget.used_bytes == 0
    assert most <= 100


async def test_each_class_has_a_door_of_its_own() -> None:
    """Cameras that fill theirs keep no verify call out; the end of the block gives the place back, also on errors."""
    rules = dict.fromkeys(WorkClass, QueueRule(1, REFUSE, 1))
    admission = Admission(rules, 100, SystemClock(), EncoderMetrics(CollectorRegistry()))
    async with admission.entered(STREAM, None):
        waiting = asyncio.create_task(admission.entered(STREAM, None).__aenter__())
        await _settled(lambda: admission.waiting() == 1)
        with pytest.raises(OverloadedError):
            await admission.entered(STREAM, None).__aenter__()
        with pytest.raises(ZeroDivisionError):
            async with admission.entered(INTERACTIVE, None):
                raise ZeroDivisionError
        async with admission.entered(INTERACTIVE, None):
            assert admission.waiting() == 1
    await waiting
    assert admission.waiting() == 0


# ---- what would come too late


def _answering_every(gate: Gate, clock: ManualClock, seconds: float, times: int = 50) -> None:
    """Let the gate see answers at one pace while its places are taken."""
    for _ in range(times):
        gate.inside = gate.rule.window
        gate.answered()
        clock.advance(seconds)
    gate.inside = 0


def _paced_gate(clock: ManualClock, overflow: OverflowPolicy = REFUSE) -> Gate:
    return Gate(INTERACTIVE, QueueRule(100, overflow, 1), EncoderMetrics(CollectorRegistry()), clock)


async def test_a_picture_whose_turn_would_come_too_late_is_refused_at_once() -> None:
    """At ten answers a second eight fit into a second; the ninth is told so, and it is counted."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    gate = _paced_gate(clock)
    _answering_every(gate, clock, 0.1)
    await gate.enter(1.0)
    waiting = [asyncio.create_task(gate.enter(1.0)) for _ in range(7)]
    await _settled(lambda: len(gate.waiting) == 7)
    with pytest.raises(OverloadedError, match=r"interactive queue is full \(8\)"):
        await gate.enter(1.0)
    labels = {"work_class": "interactive", "policy": "refuse_late"}
    assert gate.metrics.registry.get_sample_value("tessera_encoder_queue_overflows_total", labels) == 1.0
    patient = asyncio.create_task(gate.enter(5.0))
    await _settled(lambda: len(gate.waiting) == 8)
    gate.leave()
    for task in (*waiting, patient):
        await task
        gate.leave()


async def test_answers_that_come_in_bursts_have_the_pace_of_all_of_them() -> None:
    """Four at once, then a pause: neither the burst nor the pause is taken for the pace."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    gate = _paced_gate(clock)
    for _ in range(20):
        _answering_every(gate, clock, 0.0, 3)
        _answering_every(gate, clock, 0.4, 1)
        assert (gate.pace.within(10.0) or 100) >= 90
    for _ in range(4):
        _answering_every(gate, clock, 0.0, 1)
        assert 85 <= (gate.pace.within(10.0) or 0) <= 130


async def test_a_place_that_is_free_is_never_refused() -> None:
    """However slow answers were: nobody waits."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    gate = _paced_gate(clock)
    _answering_every(gate, clock, 60.0)
    await gate.enter(0.5)
    assert gate.inside == 1


async def test_what_was_learnt_in_a_bad_moment_does_not_refuse_for_ever() -> None:
    """The answers of those inside say how fast it is now."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    gate = _paced_gate(clock)
    _answering_every(gate, clock, 1.5)
    await gate.enter(None)
    with pytest.raises(OverloadedError):
        await gate.enter(1.0)
    _answering_every(gate, clock, 0.05, 100)
    await gate.enter(None)
    waiting = asyncio.create_task(gate.enter(1.0))
    await _settled(lambda: len(gate.waiting) == 1)
    gate.leave()
    await waiting


async def test_cameras_are_not_refused_for_being_late() -> None:
    """A newer frame takes an older one's place; no frame is turned away at the door."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    gate = _paced_gate(clock, DROP)
    _answering_every(gate, clock, 60.0)
    await gate.enter(None)
    waiting = asyncio.create_task(gate.enter(0.5))
    await _settled(lambda: len(gate.waiting) == 1)
    gate.leave()
    await waiting
    labels = {"work_class": "interactive", "policy": "refuse_late"}
    assert gate.metrics.registry.get_sample_value("tessera_encoder_queue_overflows_total", labels) is None
