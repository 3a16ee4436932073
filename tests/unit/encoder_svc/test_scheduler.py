"""The scheduler: precedence with shares, bounded queues with a named overflow, nothing done that nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from encoder_svc.metrics import EncoderMetrics
from encoder_svc.scheduler import OverflowPolicy, QueueRule, Scheduler, WorkClass
from tessera.chassis.clock import ManualClock
from tessera.domain.errors import ExpiredError, OverloadedError, UnavailableError

LIMIT_S = 10.0


class Device:
    """A scheduler whose thread is held until the test lets it go, so that the order of turns can be seen."""

    def __init__(self, limits: dict[WorkClass, int] | None = None) -> None:
        refuse, drop = OverflowPolicy.REFUSE_NEWEST, OverflowPolicy.DROP_OLDEST
        limits = dict.fromkeys(WorkClass, 100) | (limits or {})
        rules = {
            WorkClass.INTERACTIVE: QueueRule(limits[WorkClass.INTERACTIVE], refuse, every_nth=2),
            WorkClass.ENROLMENT: QueueRule(limits[WorkClass.ENROLMENT], refuse, every_nth=6),
            WorkClass.STREAM: QueueRule(limits[WorkClass.STREAM], drop, every_nth=4),
        }
        self.clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.metrics = EncoderMetrics(CollectorRegistry())
        self.done: list[str] = []
        self._released = threading.Event()
        self.scheduler = Scheduler(rules, self.clock, self.metrics, on_start=lambda: None)

    def hold(self) -> None:
        """Start, and keep the thread busy."""
        begun = threading.Event()

        def wait() -> None:
            begun.set()
            self._released.wait(LIMIT_S)

        self.scheduler.start()
        self.scheduler.submit(WorkClass.INTERACTIVE, wait)
        assert begun.wait(LIMIT_S)

    def note(self, name: str) -> Callable[[], None]:
        """Work that leaves its name."""
        return lambda: self.done.append(name)

    def release(self) -> None:
        """Let the thread go."""
        self._released.set()


@pytest.fixture
def device() -> Iterator[Device]:
    """A held device with long queues."""
    made = Device()
    made.hold()
    yield made
    made.release()
    made.scheduler.close()


def test_a_verify_call_goes_before_frames_that_came_first(device: Device) -> None:
    """Interactive work is next, whatever waits already."""
    last = [device.scheduler.submit(WorkClass.STREAM, device.note(f"stream {n}")) for n in range(3)][-1]
    device.scheduler.submit(WorkClass.INTERACTIVE, device.note("verify"))
    device.release()
    last.result(LIMIT_S)
    assert device.done == ["verify", "stream 0", "stream 1", "stream 2"]


def test_streams_and_enrolments_keep_their_share(device: Device) -> None:
    """Under a flood of verify calls, streams get every fourth turn and enrolments every sixth or more."""
    for n in range(40):
        device.scheduler.submit(WorkClass.INTERACTIVE, device.note(f"verify {n}"))
    for n in range(10):
        device.scheduler.submit(WorkClass.ENROLMENT, device.note(f"enrol {n}"))
        device.scheduler.submit(WorkClass.STREAM, device.note(f"stream {n}"))
    end = device.scheduler.submit(WorkClass.INTERACTIVE, device.note("end"))
    device.release()
    end.result(LIMIT_S)
    first = [name.split()[0] for name in device.done[:24]]
    assert 5 <= first.count("stream") <= 7
    assert 3 <= first.count("enrol") <= 5
    assert first.count("verify") >= 12
    assert [name for name in device.done if name.startswith("stream")] == [f"stream {n}" for n in range(10)]


def test_a_full_queue_of_verify_calls_refuses_the_newest() -> None:
    """The caller is told at once, and it is counted."""
    device = Device({WorkClass.INTERACTIVE: 1})
    device.hold()
    waiting = device.scheduler.submit(WorkClass.INTERACTIVE, device.note("first"))
    with pytest.raises(OverloadedError, match="interactive queue"):
        device.scheduler.submit(WorkClass.INTERACTIVE, device.note("second"))
    labels = {"work_class": "interactive", "policy": "refuse_newest"}
    assert device.metrics.registry.get_sample_value("tessera_encoder_queue_overflows_total", labels) == 1.0
    device.release()
    waiting.result(LIMIT_S)
    device.scheduler.close()
    assert device.done == ["first"]


def test_a_full_queue_of_frames_drops_the_oldest() -> None:
    """The newest frame is worth most; the dropped one's waiter hears of it, and it is counted."""
    device = Device({WorkClass.STREAM: 2})
    device.hold()
    oldest, *others = [device.scheduler.submit(WorkClass.STREAM, device.note(str(n))) for n in range(3)]
    with pytest.raises(OverloadedError):
        oldest.result(LIMIT_S)
    labels = {"work_class": "stream", "policy": "drop_oldest"}
    assert device.metrics.registry.get_sample_value("tessera_encoder_queue_overflows_total", labels) == 1.0
    device.release()
    for other in others:
        other.result(LIMIT_S)
    device.scheduler.close()
    assert device.done == ["1", "2"]


def test_work_whose_time_ran_out_while_it_waited_is_not_begun(device: Device) -> None:
    """It fails as expired; work with time left is done."""
    late = device.scheduler.submit(WorkClass.STREAM, device.note("late"), expires_at_s=1.0)
    good = device.scheduler.submit(WorkClass.STREAM, device.note("good"), expires_at_s=3.0)
    device.clock.advance(2.0)
    device.release()
    with pytest.raises(ExpiredError):
        late.result(LIMIT_S)
    good.result(LIMIT_S)
    assert device.done == ["good"]


def test_cancelled_work_is_not_begun(device: Device) -> None:
    """Nobody waits for it any more."""
    gone = device.scheduler.submit(WorkClass.INTERACTIVE, device.note("gone"))
    stays = device.scheduler.submit(WorkClass.INTERACTIVE, device.note("stays"))
    assert gone.cancel()
    device.release()
    stays.result(LIMIT_S)
    assert device.done == ["stays"]


def test_a_failure_reaches_its_waiter_and_the_next_work_is_done(device: Device) -> None:
    """One bad frame does not take the device with it."""

    def break_down() -> None:
        raise ZeroDivisionError

    broken = device.scheduler.submit(WorkClass.STREAM, break_down)
    after = device.scheduler.submit(WorkClass.STREAM, device.note("after"))
    device.release()
    with pytest.raises(ZeroDivisionError):
        broken.result(LIMIT_S)
    after.result(LIMIT_S)
    assert device.done == ["after"]


def test_closing_answers_those_who_wait_and_refuses_the_next() -> None:
    """Nobody waits for ever on a server that goes away."""
    device = Device()
    device.hold()
    waiting = device.scheduler.submit(WorkClass.STREAM, device.note("never"))
    closing = threading.Thread(target=device.scheduler.close)
    closing.start()
    with pytest.raises(UnavailableError):
        waiting.result(LIMIT_S)
    device.release()
    closing.join(LIMIT_S)
    assert not closing.is_alive()
    with pytest.raises(UnavailableError):
        device.scheduler.submit(WorkClass.STREAM, device.note("never"))
    assert device.done == []


def test_the_depth_of_each_queue_is_shown(device: Device) -> None:
    """What waits is what the gauge says; what runs does not wait."""
    works = [device.scheduler.submit(WorkClass.STREAM, device.note(str(n))) for n in range(2)]
    depth = device.metrics.registry.get_sample_value
    assert depth("tessera_encoder_queue_depth", {"work_class": "stream"}) == 2.0
    device.release()
    for work in works:
        work.result(LIMIT_S)
    assert depth("tessera_encoder_queue_depth", {"work_class": "stream"}) == 0.0
