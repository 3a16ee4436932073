"""One scheduler per device: lanes that run batches, strict order with reserved shares, nothing done for nobody.

A lane is a thread that runs networks: one per core on a CPU, exactly one on a CUDA device. An idle lane begins at once
with what there is. Work that expired or was cancelled while it waited is dropped before its turn. Queues here are
short, since `encoder_svc.admission` bounds what enters; whoever calls `submit` has been admitted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from encoder_svc.metrics import EncoderMetrics
from encoder_svc.scheduling.costs import BatchCosts
from encoder_svc.scheduling.forming import BatchRules, Situation, form
from encoder_svc.scheduling.shares import Shares
from encoder_svc.scheduling.work import Batch, Done, Stage, Work, WorkClass
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import ExpiredError, UnavailableError

PATIENCE_S = 0.1
_LAST = 1_000_000
_REHEARSAL_PATIENCE_S = 1.0


class Scheduler:
    """Runs stages in batches on lanes that it owns.

    Args:
        rules: how batches are formed.
        reserved: the share of the device's time that each class gets while it has work.
        lanes: threads that run batches.
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
    ) -> None:
        self._rules = rules
        self._shares = Shares(reserved, PATIENCE_S)
        self._costs = BatchCosts()
        self._clock = clock
        self._metrics = metrics
        self._on_start = on_start
        self._queues: dict[WorkClass, deque[Work]] = {work_class: deque() for work_class in WorkClass}
        self._announced: dict[WorkClass, dict[object, float]] = {work_class: {} for work_class in WorkClass}
        self._changed = threading.Condition()
        self._closed = ""  # why, once it is
        self._idle = 0
        self._running: dict[WorkClass, int] = dict.fromkeys(WorkClass, 0)
        self._lanes = [
            threading.Thread(target=self._lane, name=f"inference-{number}", daemon=True) for number in range(lanes)
        ]

    @property
    def lanes(self) -> int:
        """Threads that run batches."""
        return len(self._lanes)

    def start(self) -> None:
        """Start the lanes."""
        self._metrics.lanes.set(len(self._lanes))
        for lane in self._lanes:
            lane.start()

    def close(self) -> None:
        """Take no more work, answer what waits with UnavailableError, and wait for what runs."""
        self._refuse_all("shutting down")
        for lane in self._lanes:
            if lane.is_alive():
                lane.join()

    def submit(
        self,
        stage: Stage,
        bucket: Hashable,
        payload: object,
        work_class: WorkClass,
        *,
        frame: object = None,
        source: str = "",
        expires_at_s: float | None = None,
    ) -> Work:
        """Queue one item for a stage.

        Args:
            stage: what to run.
            bucket: its shape; items of one bucket share batches.
            payload: what `stage.run` gets.
            work_class: whose work it is.
            frame: the picture it comes from.
            source: the stream that it comes from; empty: none.
            expires_at_s: on the clock's monotonic time; later it is not begun.

        Returns:
            The work. Its future fails with ExpiredError when its time ran out first, and may be cancelled until it
            begins.

        Raises:
            UnavailableError: the scheduler is closed.
        """
        now_s = self._clock.monotonic_s()
        work = Work(stage, bucket, payload, work_class, frame, source, expires_at_s, now_s)
        with self._changed:
            if self._closed:
                raise UnavailableError("encoder", self._closed)
            self._queues[work_class].append(work)
            self._changed.notify()
        return work

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
                with self._changed:
                    self._costs.replace(stage.cost_key(bucket), len(payloads), seconds)
            return [seconds]

        rehearsal = Stage("rehearsal", stage.encoder, -1, 1, run, _LAST, _REHEARSAL_PATIENCE_S, teaches=False)
        return self.submit(rehearsal, bucket, payloads, WorkClass.STREAM).future

    def _timed(self, stage: Stage, payloads: Sequence[object]) -> float:
        started_s = self._clock.monotonic_s()
        stage.run(payloads)
        return self._clock.monotonic_s() - started_s

    def way_of_a_picture(self, encoder: str, batches: Sequence[tuple[Stage, Hashable, int]]) -> None:
        """Say which batches one picture with one face makes when it is alone: stages, shapes, items."""
        with self._changed:
            self._costs.way_of_a_picture(encoder, [(stage.cost_key(shape), n) for stage, shape, n in batches])

    @contextmanager
    def announced(self, work_class: WorkClass) -> Iterator[None]:
        """While the block runs, work of this class is on its way: being decoded, or measured between two stages."""
        token = object()
        with self._changed:
            self._announced[work_class][token] = self._clock.monotonic_s()
        try:
            yield
        finally:
            with self._changed:
                del self._announced[work_class][token]
                self._changed.notify()

    def depth(self) -> int:
        """Items that wait; for tests and for the drain."""
        with self._changed:
            return sum(len(queue) for queue in self._queues.values())

    # ---- the lanes

    def _lane(self) -> None:
        try:
            self._on_start()
            busy = False
            while self._run_next(back_to_back=busy):
                busy = True
        except BaseException:  # noqa: BLE001 - the edge of a thread; a lane that is gone would leave its callers waiting
            get_logger().exception("encoder.lane_failed")
            self._refuse_all("a lane has failed")

    def _run_next(self, *, back_to_back: bool) -> bool:
        """Run one batch; False: closed. A method of its own, so that a lane that waits holds no picture and no network
        of the batch before."""
        batch = self._next(back_to_back=back_to_back)
        if batch is None:
            return False
        started_s = self._clock.monotonic_s()
        whole = self._run(batch)
        seconds = self._clock.monotonic_s() - started_s
        with self._changed:
            self._running[batch.lead] -= 1
            self._shares.spend(batch.lead, seconds, started_s + seconds)
            if whole and batch.stage.teaches:
                self._costs.observe(batch.stage.cost_key(batch.bucket), len(batch.works), seconds)
            self._changed.notify()
        self._metrics.observe_batch(batch.stage, len(batch.works), batch.release.value, seconds)
        return True

    def _run(self, batch: Batch) -> bool:
        """Answer every item of a batch; True: it ran as one."""
        started_s = self._clock.monotonic_s()
        try:
            outputs = _outputs(batch)
        except BaseException as error:  # noqa: BLE001 - the edge of the lane; the waiters get it
            if len(batch.works) == 1:
                batch.works[0].future.set_exception(error)
                return False
        else:
            seconds = self._clock.monotonic_s() - started_s
            for work, output in zip(batch.works, outputs, strict=True):
                work.future.set_result(Done(output, seconds, len(batch.works), started_s))
            return True
        # One bad item shall not take the others with it: each is tried alone.
        for work in batch.works:
            self._run(Batch(batch.stage, batch.bucket, [work], batch.lead, batch.release))
        return False

    def _next(self, *, back_to_back: bool) -> Batch | None:
        looking_since_s = self._clock.monotonic_s()
        with self._changed:
            while not self._closed:
                now_s = self._clock.monotonic_s()
                self._drop_dead(now_s)
                batch = self._choose(now_s, looking_since_s, back_to_back=back_to_back)
                if isinstance(batch, Batch):
                    taken = self._take(batch)
                    if taken.works:
                        self._running[taken.lead] += 1
                        return taken
                    continue
                # What is left when it wakes up is no longer back to back, unless it only waited for a larger batch.
                back_to_back = back_to_back and batch is not None
                self._idle += 1
                self._changed.wait(batch)
                self._idle -= 1
                if batch is None:
                    looking_since_s = self._clock.monotonic_s()
        return None

    def _choose(self, now_s: float, looking_since_s: float, *, back_to_back: bool) -> Batch | float | None:
        """The next batch; or how long to wait before looking again, None: until something changes."""
        oldest_s = {c: min(w.submitted_s for w in queue) for c, queue in self._queues.items() if queue}
        if not oldest_s:
            return None
        owed = self._shares.owed(oldest_s, now_s)
        lead = owed or next(work_class for work_class in WorkClass if work_class in oldest_s)
        if owed is None and lead is not WorkClass.INTERACTIVE:
            held_s = self._held_for_interactive(now_s, looking_since_s)
            if held_s > 0.0:
                return held_s
        situation = Situation(self._idle, back_to_back, len(self._announced[lead]), now_s)
        return form(lead, self._queues, self._costs, self._rules, situation)

    def _held_for_interactive(self, now_s: float, looking_since_s: float) -> float:
        """How long the last free lane still waits for interactive work that is on its way.

        However much of it is announced meanwhile: pictures that are refused when they are decoded never arrive, and a
        steady flow of them would hold the lane for ever.
        """
        coming = self._announced[WorkClass.INTERACTIVE]
        lower = sum(n for work_class, n in self._running.items() if work_class is not WorkClass.INTERACTIVE)
        if not coming or len(self._lanes) - lower > 1:
            return 0.0
        return min(max(coming.values()), looking_since_s) + self._rules.hold_s - now_s

    def _refuse_all(self, why: str) -> None:
        """Take no more work, and answer what waits."""
        with self._changed:
            self._closed = self._closed or why
            waiting = [work for queue in self._queues.values() for work in queue]
            for queue in self._queues.values():
                queue.clear()
            self._changed.notify_all()
        for work in waiting:
            _fail(work, UnavailableError("encoder", why))

    def _take(self, batch: Batch) -> Batch:
        """Take the batch's works out of their queues; what was cancelled in this moment is left out."""
        for work in batch.works:
            self._queues[work.work_class].remove(work)
        batch.works = [work for work in batch.works if work.future.set_running_or_notify_cancel()]
        return batch

    def _drop_dead(self, now_s: float) -> None:
        for queue in self._queues.values():
            for work in [w for w in queue if w.future.cancelled() or _expired(w, now_s)]:
                queue.remove(work)
                _fail(work, ExpiredError(work.stage.name))


def _outputs(batch: Batch) -> Sequence[object]:
    outputs: Sequence[object] = batch.stage.run([work.payload for work in batch.works])
    if len(outputs) != len(batch.works):
        raise RuntimeError(f"{batch.stage.name} gave {len(outputs)} outputs for {len(batch.works)} items")
    return outputs


def _expired(work: Work, now_s: float) -> bool:
    return work.expires_at_s is not None and now_s >= work.expires_at_s


def _fail(work: Work, error: Exception) -> None:
    if work.future.set_running_or_notify_cancel():
        work.future.set_exception(error)
