"""The way of one picture: step after step on the thread that did the last one; errors and cancelling end it whole."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError

import pytest

from encoder_svc.scheduling.journeys import Journey, Way, side_by_side
from encoder_svc.scheduling.work import Asker, Stage, Want, WorkClass
from tessera.domain.errors import UnavailableError
from tests.encoder_world import LIMIT_S, HeldDevice

ASKER = Asker(WorkClass.INTERACTIVE)


def _stage(run: Callable[[Sequence[object]], Sequence[object]] = list, name: str = "s", order: int = 0) -> Stage:
    return Stage(name, "test", order, 8, run)


def _begun(way: Way[object], device: HeldDevice) -> Journey[object]:
    journey = Journey(way, device.scheduler, ASKER)
    journey.begin()
    return journey


def test_each_step_gets_what_the_step_before_it_gave(device: HeldDevice) -> None:
    """In the order in which it was wanted; the end is the answer, and what ran is known."""
    double = _stage(lambda payloads: [2 * int(str(one)) for one in payloads], "double")

    def way() -> Way[object]:
        first = yield [Want(double, n, n) for n in (3, 1, 2)]
        (second,) = yield [Want(double, "", first[0].output)]
        return [one.output for one in (*first, second)]

    journey = _begun(way(), device)
    device.release()
    assert journey.future.result(LIMIT_S) == [6, 2, 4, 12]
    assert [ran.stage for ran in journey.ran] == ["double"] * 4


def test_a_step_that_wants_nothing_is_over_at_once(device: HeldDevice) -> None:
    """A picture without faces has nothing to embed."""

    def way() -> Way[object]:
        return (yield [])

    assert _begun(way(), device).future.result(LIMIT_S) == []


def test_the_next_step_of_a_verify_call_is_before_whatever_waits(device: HeldDevice) -> None:
    """The lane that did the last step finds the next one there when it looks for work."""
    note = device.stage()

    def way() -> Way[object]:
        for n in range(3):
            yield [Want(note, "shape", f"verify {n}")]
        return None

    journey = _begun(way(), device)
    frames = [device.submit(note, f"frame {n}", WorkClass.STREAM) for n in range(3)]
    device.release()
    journey.future.result(LIMIT_S)
    for frame in frames:
        frame.future.result(LIMIT_S)
    assert device.done == [*(f"verify {n}" for n in range(3)), *(f"frame {n}" for n in range(3))]


def test_one_failed_work_ends_the_way_and_drops_the_rest(device: HeldDevice) -> None:
    """Its error is the answer; what of the step has not begun is not begun."""
    note, ended = device.stage(order=-1), []
    bad = _stage(lambda payloads: [1 / int(str(one)) for one in payloads])

    def way() -> Way[object]:
        try:
            return (yield [Want(bad, "bad", 0), Want(note, "shape", "never")])
        finally:
            ended.append("closed")

    journey = _begun(way(), device)
    device.release()
    with pytest.raises(ZeroDivisionError):
        journey.future.result(LIMIT_S)
    assert ended == ["closed"]
    device.scheduler.close()
    assert device.done == []


def test_what_the_way_itself_raises_is_the_answer(device: HeldDevice) -> None:
    """On the lane, which lives on."""

    def way() -> Way[object]:
        yield [Want(_stage(), "", 1)]
        raise LookupError("lost")

    journey = _begun(way(), device)
    device.release()
    with pytest.raises(LookupError, match="lost"):
        journey.future.result(LIMIT_S)
    device.submit(device.stage(), "after").future.result(LIMIT_S)


def test_a_cancelled_way_is_not_gone_on(device: HeldDevice) -> None:
    """What waits is not begun; what runs is the last."""
    begun, may_go, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(payloads: Sequence[object]) -> Sequence[object]:
        begun.set()
        may_go.wait(LIMIT_S)
        return payloads

    def way() -> Way[object]:
        try:
            yield [Want(_stage(slow), "", 1)]
            return (yield [Want(device.stage(), "shape", "never")])
        finally:
            ended.set()

    running = _begun(way(), device)
    waiting = _begun(way(), device)
    waiting.cancel()
    assert ended.is_set()
    ended.clear()
    device.release()
    assert begun.wait(LIMIT_S)
    running.cancel()
    may_go.set()
    assert ended.wait(LIMIT_S)
    for journey in (running, waiting):
        with pytest.raises(CancelledError):
            journey.future.result(LIMIT_S)
    device.scheduler.close()
    assert device.done == []


def test_a_way_on_a_closed_scheduler_is_unavailable() -> None:
    """Also when it closes between two steps."""
    device = HeldDevice()
    device.scheduler.start()
    step, closed = threading.Event(), threading.Event()

    def hold(payloads: Sequence[object]) -> Sequence[object]:
        step.set()
        closed.wait(LIMIT_S)
        return payloads

    def way() -> Way[object]:
        yield [Want(_stage(hold), "", 1)]
        return (yield [Want(_stage(), "", 1)])

    journey = _begun(way(), device)
    assert step.wait(LIMIT_S)
    closing = threading.Thread(target=device.scheduler.close)
    closing.start()
    while not device.scheduler._closed:
        pass
    closed.set()
    closing.join(LIMIT_S)
    for one in (journey, _begun(way(), device)):
        with pytest.raises(UnavailableError):
            one.future.result(LIMIT_S)


@pytest.mark.parametrize("fails", [False, True])
def test_an_ended_way_keeps_no_picture(device: HeldDevice, *, fails: bool) -> None:
    """Neither for the garbage collector: at hundreds of pictures a second it would come too late."""

    class Pixels:
        """Something that can be watched."""

    def use(payloads: Sequence[object]) -> Sequence[object]:
        if fails:
            raise ValueError(str(len(payloads)))
        return [len(payloads)]

    seen: list[weakref.ref[Pixels]] = []

    def way() -> Way[object]:
        pixels = Pixels()
        seen.append(weakref.ref(pixels))
        (done,) = yield [Want(_stage(use), "", pixels)]
        return done.output

    gc.collect()
    gc.disable()
    try:
        journey = _begun(way(), device)
        device.release()
        error = journey.future.exception(LIMIT_S)
        assert (error is not None) is fails
        device.submit(device.stage(), "after").future.result(LIMIT_S)  # the lane has let go of the batch before
        del journey, error
        assert seen[0]() is None
    finally:
        gc.enable()


# ---- two ways in step


def _counting(stage: Stage, steps: int, noted: list[str], name: str) -> Way[str]:
    """A way of so many steps, each of two items."""
    try:
        for step in range(steps):
            done = yield [Want(stage, None, f"{name}{step}{item}") for item in "ab"]
            assert [one.output for one in done] == [f"{name}{step}a", f"{name}{step}b"]
        return name
    finally:
        noted.append(name)


def test_ways_in_step_want_their_next_things_together(device: HeldDevice) -> None:
    """Each gets what it wanted, the longer one goes on alone, and both answers come."""
    stage, noted = device.stage(max_items=8), list[str]()
    ways = side_by_side(
        _counting(stage, 2, noted, "x"), _counting(stage, 3, noted, "y"), _counting(stage, 0, noted, "z")
    )
    journey = Journey(ways, device.scheduler, ASKER)
    journey.begin()
    device.release()
    assert journey.future.result(LIMIT_S) == ["x", "y", "z"]
    assert device.done == [f"{name}{item}" for name in ("x0", "y0", "x1", "y1", "y2") for item in "ab"]
    assert sorted(noted) == ["x", "y", "z"]


def test_where_one_way_fails_the_other_ends(device: HeldDevice) -> None:
    """Neither is left half-way, and the error is told."""
    stage, noted = device.stage(max_items=8), list[str]()

    def failing() -> Way[str]:
        yield [Want(stage, None, "once")]
        raise ValueError("it broke")

    journey = Journey(
        side_by_side(_counting(stage, 9, noted, "x"), failing()), device.scheduler, Asker(WorkClass.STREAM)
    )
    journey.begin()
    device.release()
    with pytest.raises(ValueError, match="it broke"):
        journey.future.result(LIMIT_S)
    assert noted == ["x"]
