"""One scheduler per device: lanes that run batches, strict order with reserved shares, nothing done for nobody.

A lane is a thread. The device's lanes run networks: one per core on a CPU, exactly one on a CUDA device. What is done
with a picture beside its networks, decoding and measuring, is work like any other and waits for its turn like any
other: on a CPU the same lanes do it, so that no camera's decoding takes a core from a verify call; beside a CUDA device
a crew of its own does. An idle lane begins at once with what there is. Work that expired or was cancelled while it
waited is dropped before its turn. Queues here are short, since `encoder_svc.admission` bounds what enters; whoever
calls `submit` has been admitted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from encoder_svc.metrics import EncoderMetrics
from encoder_svc.scheduling.costs import BatchCosts
from encoder_svc.scheduling.forming import BatchRules, Situation, form
from encoder_svc.scheduling.shares import Shares
from encoder_svc.scheduling.work import Asker, Batch, Done, Stage, Want, Work, WorkClass
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import ExpiredError, UnavailableError

PATIENCE_S = 0.1
_LAST = 1_000_000
_REHEARSAL_PATIENCE_S = 1.0


@dataclass(slots=True, eq=False)
class Crew:
    """Lanes that take the same kinds of work, and what waits for them."""

    shares: Shares
    changed: threading.Condition
    """On the scheduler's one lock."""
    queues: dict[WorkClass, deque[Work]] = field(default_factory=lambda: {c: deque() for c in WorkClass})
    lanes: list[threading.Thread] = field(default_factory=list)
    idle: int = 0

    @property
    def depth(self) -> int:
        """Items that wait."""
        return sum(len(queue) for queue in self.queues.values())

    def drop_dead(self, now_s: float) -> None:
        """Answer and forget what expired or was cancelled while it waited."""
        for queue in self.queues.values():
            for work in [w for w in queue if w.future.cancelled() or w.expired(now_s)]:
                queue.remove(work)
                _fail(work, ExpiredError(work.stage.name))

    def take(self, batch: Batch) -> None:
        """Take the batch's works out of their queues; what was cancelled in this moment is left out."""
        for work in batch.works:
            self.queues[work.asker.work_class].remove(work)
        batch.works = [work for work in batch.works if work.future.set_running_or_notify_cancel()]


class Scheduler:
    """Runs stages in batches on lanes that it owns.

    Args:
        rules: how batches are formed.
        reserved: the share of its time that each crew gives to a class while it has work.
        lanes: threads that run networks.
        helpers: threads beside them that do the rest; 0: the lanes do it.
        clock: expiry is told from its monotonic time.
        metrics: batches and busy time.
        on_start: runs first on each lane, such as setting its number of CPU threads.
    """

    def __init__(
        self,
        rules: BatchRules,
        reserved: Mapping[WorkClass, float],
        *,
        lanes: int,
        clock: Clock,
        metrics: EncoderMetrics,
        on_start: Callable[[], None],
        helpers: int = 0,
    ) -> None:
        self._rules = rules
        self._costs = BatchCosts()
        self._clock = clock
        self._metrics = metrics
        self._on_start = on_start
        self._lock = threading.Lock()
        self._closed = ""  # why, once it is
        self._running_beside: dict[WorkClass, int] = dict.fromkeys(WorkClass, 0)
        self._here = threading.local()
        self._device = self._crew("inference", lanes, reserved)
        self._helpers = self._crew("pictures", helpers, reserved) if helpers else self._device

    @property
    def lanes(self) -> int:
        """Threads that run networks."""
        return len(self._device.lanes)

    def start(self) -> None:
        """Start the lanes."""
        self._metrics.lanes.set(self.lanes)
        for crew in self._crews():
            for lane in crew.lanes:
                lane.start()

    def close(self) -> None:
        """Take no more work, answer what waits with UnavailableError, and wait for what runs."""
        self._refuse_all("shutting down")
        for crew in self._crews():
            for lane in crew.lanes:
                if lane.is_alive():
                    lane.join()

    def submit(self, wants: Sequence[Want], asker: Asker) -> list[Work]:
        """Queue some items.

        Args:
            wants: what is to be run.
            asker: for whom; one object for each picture.

        Returns:
            One work for each. Its future fails with ExpiredError when its time ran out first, and may be cancelled
            until it begins.

        Raises:
            UnavailableError: the scheduler is closed.
        """
        now_s = self._clock.monotonic_s()
        works = [Work(want.stage, want.bucket, want.payload, asker, now_s) for want in wants]
        with self._lock:
            if self._closed:
                raise UnavailableError("encoder", self._closed)
            for work in works:
                crew = self._crew_of(work.stage)
                crew.queues[asker.work_class].append(work)
                # A lane that submits looks for work itself in a moment, and wakes another one if it leaves some.
                if crew is not getattr(self._here, "crew", None):
                    crew.changed.notify()
        return works

    def rehearse(self, stage: Stage, bucket: Hashable, payloads: Sequence[object], *, learn: bool) -> Future[Done]:
        """Run a stage with a batch of just this size, behind all other work, but not for ever behind it.

        Args:
            stage: to run.
            bucket: its shape.
            payloads: the batch.
            learn: whether what it took is what such a batch costs; the first run of a shape is not.
        """

        def run(batches: Sequence[Sequence[object]]) -> Sequence[float]:
            # The quicker of two: what disturbed the other is no cost of the batch.
            seconds = min(self._timed(stage, batches[0]) for _ in range(2 if learn else 1))
            if learn:
                with self._lock:
                    self._costs.replace(stage.cost_key(bucket), len(payloads), seconds)
            return [seconds]

        rehearsal = Stage("rehearsal", stage.encoder, -1, 1, run, _LAST, _REHEARSAL_PATIENCE_S, teaches=False)
        (work,) = self.submit([Want(rehearsal, bucket, payloads)], Asker(WorkClass.STREAM))
        return work.future

    def way_of_a_picture(self, encoder: str, batches: Sequence[tuple[Stage, Hashable, int]]) -> None:
        """Say which batches one picture with one face makes when it is alone: stages, shapes, items."""
        with self._lock:
            self._costs.way_of_a_picture(encoder, [(stage.cost_key(shape), n) for stage, shape, n in batches])

    def depth(self) -> int:
        """Items that wait; for tests and for the drain."""
        with self._lock:
            return sum(crew.depth for crew in self._crews())

    # ---- crews

    def _crew(self, name: str, lanes: int, reserved: Mapping[WorkClass, float]) -> Crew:
        crew = Crew(Shares(reserved, PATIENCE_S), threading.Condition(self._lock))
        crew.lanes += [
            threading.Thread(target=self._lane, args=(crew,), name=f"{name}-{number}", daemon=True)
            for number in range(lanes)
        ]
        return crew

    def _crews(self) -> tuple[Crew, ...]:
        return (self._device,) if self._helpers is self._device else (self._device, self._helpers)

    def _crew_of(self, stage: Stage) -> Crew:
        return self._device if stage.network else self._helpers

    # ---- the lanes

    def _lane(self, crew: Crew) -> None:
        try:
            self._here.crew = crew
            self._on_start()
            busy = False
            while self._run_next(crew, back_to_back=busy):
                busy = True
        except BaseException:  # noqa: BLE001 - the edge of a thread; a lane that is gone would leave its callers waiting
            get_logger().exception("encoder.lane_failed")
            self._refuse_all("a lane has failed")

    def _run_next(self, crew: Crew, *, back_to_back: bool) -> bool:
        """Run one batch; False: closed. A method of its own, so that a lane that waits holds no picture and no network
        of the batch before."""
        batch = self._next(crew, back_to_back=back_to_back)
        if batch is None:
            return False
        size, started_s = len(batch.works), self._clock.monotonic_s()
        outputs, error = _attempt(batch.stage, [work.payload for work in batch.works])
        seconds = self._clock.monotonic_s() - started_s
        with self._lock:
            crew.shares.spend(batch.lead, seconds, started_s + seconds)
            if not batch.stage.network:
                self._running_beside[batch.lead] -= 1
            if error is None and batch.stage.teaches:
                self._costs.observe(batch.stage.cost_key(batch.bucket), size, seconds)
        if error is None:
            for work, output in zip(batch.works, outputs, strict=True):
                work.future.set_result(Done(output, seconds, size, started_s))
        elif size == 1:
            batch.works.pop().future.set_exception(error)
        else:
            self._one_by_one(batch)
        del error  # its traceback leads back to this frame
        self._metrics.observe_batch(batch.stage, size, batch.release.value, seconds, on_device=crew is self._device)
        return True

    def _one_by_one(self, batch: Batch) -> None:
        """One bad item shall not take the others with it."""
        while batch.works:
            work = batch.works.pop(0)
            started_s = self._clock.monotonic_s()
            outputs, error = _attempt(batch.stage, [work.payload])
            if error is not None:
                work.future.set_exception(error)
                del error, work  # its traceback leads back to this frame
            else:
                work.future.set_result(Done(outputs[0], self._clock.monotonic_s() - started_s, 1, started_s))

    def _next(self, crew: Crew, *, back_to_back: bool) -> Batch | None:
        with self._lock:
            while not self._closed:
                now_s = self._clock.monotonic_s()
                crew.drop_dead(now_s)
                found = self._choose(crew, now_s, back_to_back=back_to_back)
                if isinstance(found, Batch):
                    crew.take(found)
                    if not found.works:
                        continue
                    if not found.stage.network:
                        self._running_beside[found.lead] += 1
                    if crew.idle and crew.depth:
                        crew.changed.notify()
                    return found
                # What is left when it wakes up is no longer back to back, unless it only waited for a larger batch.
                back_to_back = back_to_back and found is not None
                crew.idle += 1
                crew.changed.wait(found)
                crew.idle -= 1
        return None

    def _choose(self, crew: Crew, now_s: float, *, back_to_back: bool) -> Batch | float | None:
        """The next batch; or how long to wait before looking again, None: until something changes."""
        oldest_s = {c: min(w.submitted_s for w in queue) for c, queue in crew.queues.items() if queue}
        if not oldest_s:
            return None
        lead = crew.shares.owed(oldest_s, now_s) or next(c for c in WorkClass if c in oldest_s)
        beside = sum(not work.stage.network for work in self._helpers.queues[lead]) + self._running_beside[lead]
        situation = Situation(crew.idle, back_to_back, beside, now_s)
        return form(lead, crew.queues, self._costs, self._rules, situation)

    def _refuse_all(self, why: str) -> None:
        """Take no more work, and answer what waits."""
        with self._lock:
            self._closed = self._closed or why
            waiting = [work for crew in self._crews() for queue in crew.queues.values() for work in queue]
            for crew in self._crews():
                for queue in crew.queues.values():
                    queue.clear()
                crew.changed.notify_all()
        for work in waiting:
            _fail(work, UnavailableError("encoder", why))

    def _timed(self, stage: Stage, payloads: Sequence[object]) -> float:
        started_s = self._clock.monotonic_s()
        stage.run(payloads)
        return self._clock.monotonic_s() - started_s


def _attempt(stage: Stage, payloads: Sequence[object]) -> tuple[Sequence[object], BaseException | None]:
    """What a stage gives for some items, or how it failed.

    Nothing here leads to the futures of the items: an error that hangs on one of them, and whose traceback leads back
    to it, would keep the picture until the garbage collector comes.
    """
    try:
        outputs: Sequence[object] = stage.run(payloads)
    except BaseException as error:  # noqa: BLE001 - the edge of the lane; the waiters get it
        return (), error
    if len(outputs) != len(payloads):
        return (), RuntimeError(f"{stage.name} gave {len(outputs)} outputs for {len(payloads)} items")
    return outputs, None


def _fail(work: Work, error: Exception) -> None:
    if work.future.set_running_or_notify_cancel():
        work.future.set_exception(error)
