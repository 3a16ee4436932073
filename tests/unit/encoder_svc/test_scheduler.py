"""The scheduler on real threads: whose turn it is, what is dropped, what a failure takes with it, how it ends."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait

import pytest
from prometheus_client import CollectorRegistry

from encoder_svc.metrics import EncoderMetrics
from encoder_svc.scheduling.scheduler import Scheduler
from encoder_svc.scheduling.work import Asker, Done, Stage, Want, Work, WorkClass
from tessera.chassis.clock import SystemClock
from tessera.domain.errors import ExpiredError, UnavailableError
from tests.encoder_world import LIMIT_S, RESERVED, RULES, HeldDevice


def _all(works: Sequence[Work]) -> None:
    _, late = wait([work.future for work in works], LIMIT_S)
    assert not late


def _until(condition: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.002)


# ---- whose turn it is


def test_a_verify_call_goes_before_frames_that_came_first(device: HeldDevice) -> None:
    """Interactive work is next, whatever waits already."""
    note = device.stage()
    works = [device.submit(note, f"stream {n}", WorkClass.STREAM) for n in range(3)]
    works.append(device.submit(note, "verify"))
    device.release()
    _all(works)
    assert device.done == ["verify", "stream 0", "stream 1", "stream 2"]


def test_streams_and_enrolments_keep_their_share(device: HeldDevice) -> None:
    """Under a flood of verify calls they get a fifth and a tenth of the device's time, in the order they came."""
    device.batch_s = 0.05
    note = device.stage()
    works = [device.submit(note, f"verify {n}") for n in range(150)]
    for n in range(50):
        works.append(device.submit(note, f"enrol {n}", WorkClass.ENROLMENT))
        works.append(device.submit(note, f"stream {n}", WorkClass.STREAM))
    device.release()
    _all(works)
    first = [str(name).split()[0] for name in device.done[:100]]
    assert 17 <= first.count("stream") <= 23
    assert 8 <= first.count("enrol") <= 13
    streams = [name for name in device.done if str(name).startswith("stream")]
    assert streams == [f"stream {n}" for n in range(50)]


def test_items_of_one_stage_and_shape_share_a_batch(device: HeldDevice) -> None:
    """Those of another shape wait for their own."""
    note = device.stage(max_items=8)
    works = [device.submit(note, shape, WorkClass.STREAM, shape=shape) for shape in "aabab"]
    device.release()
    _all(works)
    # Nothing is known of a batch's cost at first: it begins with one.
    assert [batch[0] for batch in device.batches[:2]] == ["a", "a"]
    assert all(len(set(batch)) == 1 for batch in device.batches)
    assert sorted(device.done) == list("aaabb")  # type: ignore[type-var]


def test_a_rehearsal_teaches_what_a_batch_costs(device: HeldDevice) -> None:
    """After it, batches are as large as the slice allows; a first run that does not count teaches nothing."""
    device.batch_s = 0.1
    note = device.stage(max_items=8)
    device.release()
    for size in (1, 8):
        device.scheduler.rehearse(note, "shape", ["warm"] * size, learn=False).result(LIMIT_S)
    assert device.scheduler._costs.predict(note.cost_key("shape"), 4) is None
    for size in (1, 8):
        device.scheduler.rehearse(note, "shape", ["warm"] * size, learn=True).result(LIMIT_S)
    assert device.scheduler._costs.predict(note.cost_key("shape"), 4) == pytest.approx(0.1)
    assert device.scheduler._costs._pace == 1.0, "a rehearsal of eight says nothing of the pace of one"


def test_a_rehearsal_is_behind_all_other_work_but_not_for_ever(device: HeldDevice) -> None:
    """A new version is warmed up also while cameras keep the device full."""
    device.batch_s = 0.3
    note = device.stage()
    rehearsal = device.scheduler.rehearse(note, "shape", ["rehearsal"], learn=True)
    works = [device.submit(note, n, WorkClass.STREAM) for n in range(10)]
    device.release()
    _all(works)
    rehearsal.result(LIMIT_S)
    assert 2 <= device.done.index("rehearsal") <= 5


# ---- what is not done


def test_work_whose_time_ran_out_while_it_waited_is_not_begun(device: HeldDevice) -> None:
    """It fails as expired; work with time left is done."""
    note = device.stage()
    late = device.submit(note, "late", WorkClass.STREAM, expires_at_s=1.0)
    good = device.submit(note, "good", WorkClass.STREAM, expires_at_s=3.0)
    device.clock.advance(2.0)
    device.release()
    with pytest.raises(ExpiredError, match="note"):
        late.future.result(LIMIT_S)
    good.future.result(LIMIT_S)
    assert device.done == ["good"]


def test_cancelled_work_is_not_begun(device: HeldDevice) -> None:
    """Nobody waits for it any more."""
    note = device.stage()
    gone, stays = device.submit(note, "gone"), device.submit(note, "stays")
    assert gone.future.cancel()
    device.release()
    stays.future.result(LIMIT_S)
    assert device.done == ["stays"]


def test_work_that_is_cancelled_when_its_batch_is_taken_is_left_out(device: HeldDevice) -> None:
    """Between the choice of a batch and its beginning, too; the lane goes on."""
    note = device.stage()

    class CancelledLast(Future[Done]):
        """Not cancelled when it is looked at, cancelled when it would begin."""

        def cancelled(self) -> bool:
            """Not yet."""
            return False

    gone = device.submit(note, "gone")
    gone.future = CancelledLast()
    gone.future.cancel()
    stays = device.submit(note, "stays")
    device.release()
    stays.future.result(LIMIT_S)
    assert device.done == ["stays"]


# ---- failures


def test_one_bad_item_of_a_batch_fails_alone() -> None:
    """The others of its batch get their results, and the batch is not learnt as what such a batch costs."""
    device = HeldDevice()

    def divide(payloads: Sequence[object]) -> Sequence[object]:
        return [1 / int(str(payload)) for payload in payloads]

    stage = Stage("divide", "test", 0, 4, divide)
    device.scheduler._costs.observe(stage.cost_key("shape"), 4, 0.001)
    device.hold()
    works = [device.submit(stage, n) for n in (1, 0, 2, 4)]
    device.release()
    _all(works)
    assert [work.future.result().output for work in works if not work.future.exception()] == [1.0, 0.5, 0.25]
    assert isinstance(works[1].future.exception(), ZeroDivisionError)
    assert device.scheduler._costs.predict(stage.cost_key("shape"), 4) == 0.001
    device.scheduler.close()


@pytest.mark.parametrize("outputs", [0, 2])
def test_a_stage_that_gives_too_few_or_too_many_outputs_fails_its_items(device: HeldDevice, outputs: int) -> None:
    """Nobody gets another's result, and the lane lives on."""
    wrong = Stage("wrong", "test", 0, 4, lambda _: [0] * outputs)
    broken, after = device.submit(wrong, "x"), device.submit(device.stage(), "after")
    device.release()
    with pytest.raises(RuntimeError, match="outputs"):
        broken.future.result(LIMIT_S)
    after.future.result(LIMIT_S)


def test_a_lane_that_cannot_start_answers_its_callers() -> None:
    """They hear that the encoder is unavailable; nobody waits for a thread that is gone."""

    def fail() -> None:
        raise OSError("no such processor")

    scheduler = Scheduler(
        RULES, RESERVED, lanes=1, clock=SystemClock(), metrics=EncoderMetrics(CollectorRegistry()), on_start=fail
    )
    wanted, asker = [Want(Stage("s", "test", 0, 1, list), "", 1)], Asker(WorkClass.STREAM)
    (waiting,) = scheduler.submit(wanted, asker)
    scheduler.start()
    with pytest.raises(UnavailableError, match="lane"):
        waiting.future.result(LIMIT_S)
    with pytest.raises(UnavailableError, match="lane"):
        scheduler.submit(wanted, asker)
    scheduler.close()


# ---- what is done beside the networks


def _beside(run: Callable[[Sequence[object]], Sequence[object]] = list) -> Stage:
    return Stage("decode", "test", 0, 1, run, network=False, teaches=False)


def test_lanes_without_helpers_decode_in_the_order_of_precedence(device: HeldDevice) -> None:
    """A camera's picture is not decoded before a verify call's network runs; and it teaches no cost."""
    order: list[str] = []

    def decode(payloads: Sequence[object]) -> Sequence[object]:
        order.append("decode")
        return payloads

    def see(payloads: Sequence[object]) -> Sequence[object]:
        order.append("see")
        return payloads

    frame = device.submit(_beside(decode), "frame", WorkClass.STREAM)
    verify = device.submit(Stage("see", "test", 0, 1, see), "verify")
    device.release()
    _all([frame, verify])
    assert order == ["see", "decode"]
    assert device.scheduler._costs.predict(_beside().cost_key("shape"), 1) is None


def test_helpers_do_it_while_the_device_is_busy() -> None:
    """Beside a CUDA device a picture is decoded while a network runs; no network runs on a helper."""
    device = HeldDevice(lanes=1, helpers=1)
    device.hold()
    threads: list[str] = []

    def tell(payloads: Sequence[object]) -> Sequence[object]:
        threads.append(threading.current_thread().name)
        return payloads

    device.submit(_beside(tell), "frame", WorkClass.STREAM).future.result(LIMIT_S)
    network = device.submit(Stage("see", "test", 0, 1, tell), "frame", WorkClass.STREAM)
    assert not network.future.done()
    device.release()
    network.future.result(LIMIT_S)
    assert [name.rsplit("-", 1)[0] for name in threads] == ["pictures", "inference"]
    device.scheduler.close()


def test_work_that_a_lane_leaves_wakes_another() -> None:
    """What a stage's end submits on its own lane is not stuck behind that lane's next batch."""
    device = HeldDevice(lanes=2)
    device.scheduler.start()
    may_go, submitted = threading.Event(), []
    slow = Stage("slow", "test", 1, 1, lambda payloads: [may_go.wait(LIMIT_S) for _ in payloads])

    def two_more(_: Future[Done]) -> None:
        submitted.extend([device.submit(slow, "slow"), device.submit(device.stage(), "quick")])

    first = device.submit(device.stage(), "first")
    first.future.add_done_callback(two_more)
    first.future.result(LIMIT_S)
    _until(lambda: len(submitted) == 2)
    submitted[1].future.result(LIMIT_S)
    assert not submitted[0].future.done()
    may_go.set()
    submitted[0].future.result(LIMIT_S)
    device.scheduler.close()


# ---- its end


def test_closing_answers_those_who_wait_and_refuses_the_next() -> None:
    """Nobody waits for ever on a server that goes away; what runs is finished."""
    device = HeldDevice(lanes=2)
    device.hold()
    note = device.stage()
    waiting = [device.submit(note, n, work_class) for work_class in WorkClass for n in range(3)]
    closing = threading.Thread(target=device.scheduler.close)
    closing.start()
    for work in waiting:
        with pytest.raises(UnavailableError):
            work.future.result(LIMIT_S)
    device.release()
    closing.join(LIMIT_S)
    assert not closing.is_alive()
    with pytest.raises(UnavailableError):
        device.submit(note, "never")
    assert device.done == []
    assert device.scheduler.depth() == 0


def test_a_lane_that_waits_keeps_nothing_of_its_last_batch(device: HeldDevice) -> None:
    """Neither the picture nor the networks: an encoder that was unloaded would stay in memory."""

    class Pixels:
        """Something that can be watched."""

    pixels = Pixels()
    seen = weakref.ref(pixels)
    stage = Stage("look", "test", 0, 1, lambda payloads: [len(payloads)])
    work = device.submit(stage, pixels)
    assert seen() is pixels
    device.release()
    work.future.result(LIMIT_S)
    del work, pixels
    _until(lambda: device.scheduler._device.idle == 1)
    gc.collect()
    assert seen() is None


def test_batches_are_counted(device: HeldDevice) -> None:
    """Inferences, executions and why each batch went."""
    work = device.submit(device.stage(), "x")
    device.release()
    work.future.result(LIMIT_S)
    device.scheduler.close()
    count = device.metrics.registry.get_sample_value
    stage = {"encoder": "test", "stage": "note"}
    assert count("tessera_encoder_inferences_total", stage) == 1.0
    assert count("tessera_encoder_executions_total", stage) == 1.0
    assert count("tessera_encoder_batch_releases_total", {"stage": "note", "why": "all"}) == 1.0
    assert count("tessera_encoder_lanes") == 1.0
