"""A collection's move to another encoder, step by step, while it is searched; every step may be asked for again.

SHADOW makes the templates of the other model beside those that are searched, COMPARE measures both, CUT_OVER searches
the others with one write of the collection's record, ROLL_BACK is the same way back, DISCARD lets go of what is not
searched. One step at a time, over all galleries. Refuses to lose a template that nobody has agreed to lose.

What the epochs of a record say is where a move stands; nothing else is kept of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from gallery_svc.comparing import Comparer, EpochComparison
from gallery_svc.epochs import (
    GOING,
    activated,
    active_of,
    epoch_of,
    epochs_of,
    going,
    inactive_of,
    other_move,
    with_shadow,
    without,
)
from gallery_svc.gallery_size import GallerySize
from gallery_svc.ids import time_ordered_id
from gallery_svc.index.protocol import Index
from gallery_svc.probes import ProbeReader
from gallery_svc.replica import Replica
from gallery_svc.shadow import Counts, EpochBuilder, row_ranges
from gallery_svc.step_lease import StepLease
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import CollectionRecord, EpochRecord, EpochState
from gallery_svc.store.protocol import Store, audit_log
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.calibration import Threshold
from tessera.domain.errors import (
    CalibrationTooSmallError,
    InvalidInputError,
    NoCalibrationError,
    NotFoundError,
    PreconditionError,
    RevisionChangedError,
    TesseraError,
    UnavailableError,
)
from tessera.domain.ids import CollectionId, ModelId

_WRITES = 5
"""Tries to write a record that others write at the same moment."""

_SWITCHES = 5
"""Tries to find a moment for the cut in which nobody is enrolled."""


class ReembedStep(StrEnum):
    """The steps of a move."""

    SHADOW = "SHADOW"
    COMPARE = "COMPARE"
    CUT_OVER = "CUT_OVER"
    ROLL_BACK = "ROLL_BACK"
    DISCARD = "DISCARD"


@dataclass(frozen=True, slots=True)
class ReembedOrder:
    """What a caller wants done."""

    collection_id: CollectionId
    model_id: ModelId
    """The model that the collection moves to; the same one in every step, ROLL_BACK too."""
    step: ReembedStep
    request_id: str
    """In the audit log; COMPARE draws by it."""
    accept_loss: bool = False
    """Go on although templates are lost."""
    compare_subjects: int = 200
    """That COMPARE draws."""
    caller: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is; the last one says what came of it."""

    counts: Counts
    model_id: ModelId
    """The one that the counts are of; after a cut and a roll-back, the one that is searched."""
    comparison: EpochComparison | None = None


class Reembedder:
    """Moves collections to other encoders.

    Args:
        store: what holds the epochs.
        replica: follows a cut at once.
        probes: sends pictures to the encoder.
        thresholds: a model without a calibration cannot decide.
        make_index: an empty index for a model; COMPARE makes two.
        clock: for times and deadlines.
        closing: set when the service goes down: a step ends, and is gone on with when it is asked for again.
    """

    def __init__(
        self,
        *,
        store: Store,
        replica: Replica,
        probes: ProbeReader,
        thresholds: Thresholds,
        make_index: Callable[[ModelId], Index],
        clock: Clock,
        closing: asyncio.Event,
    ) -> None:
        self._store = store
        self._replica = replica
        self._probes = probes
        self._thresholds = thresholds
        self._comparer = Comparer(store, thresholds, make_index)
        self._clock = clock
        self._closing = closing

    async def run(self, order: ReembedOrder) -> AsyncGenerator[Progress, None]:
        """Do one step, and tell how far it is; closing the iterator ends it, and what is done stays done.

        Raises:
            NotFoundError: the collection does not exist.
            NoCalibrationError: the model could decide nothing.
            CalibrationTooSmallError: the model cannot keep the collection's rates.
            PreconditionError: the move is not where this step begins (NO_SHADOW, NO_RETIRED_EPOCH, MODEL_ACTIVE,
                MOVE_OPEN), somebody is at a step (REEMBED_UNDER_WAY), or templates would be lost (TEMPLATES_MISSING).
            OverloadedError: the encoder has no room for long.
            UnavailableError: store or encoder are away, or this gallery goes down.
        """
        await self._record(order.collection_id)
        lease = StepLease(self._store, order.collection_id)
        await lease.take()
        try:
            # Before the first write: nothing is changed off the record.
            await self._store.append_audit(audit_log(order.collection_id, 0), [self._audit(order)])
            last: Progress | None = None
            async with contextlib.aclosing(self._step(order)) as told:
                async for last in told:
                    lease.require()
                    if self._closing.is_set():
                        raise UnavailableError("gallery", "it goes down; the same step again goes on from here")
                    yield last
            _log(order, last)
        finally:
            await lease.give_back()

    def _step(self, order: ReembedOrder) -> AsyncGenerator[Progress, None]:
        steps = {
            ReembedStep.SHADOW: self._shadow,
            ReembedStep.COMPARE: self._compare,
            ReembedStep.CUT_OVER: self._cut_over,
            ReembedStep.ROLL_BACK: self._roll_back,
            ReembedStep.DISCARD: self._discard,
        }
        return steps[order.step](order)

    # ---- steps

    async def _shadow(self, order: ReembedOrder) -> AsyncGenerator[Progress, None]:
        record, epoch = await self._opened(order)
        builder = self._builder(record, epoch)
        async for _ in builder.build():
            yield Progress(builder.counts, epoch.model_id)
        yield Progress(builder.counts, epoch.model_id)

    async def _compare(self, order: ReembedOrder) -> AsyncGenerator[Progress, None]:
        record = await self._record(order.collection_id)
        new = epoch_of(record, order.model_id)
        others = [epoch for epoch in epochs_of(record) if epoch != new and epoch.model_id != GOING]
        if new is None or not others:
            raise _no_shadow(record, order)
        total, read = 2 * await self._template_count(record), 0
        comparing = self._comparer.compare(record, others[0], new, order.compare_subjects, order.request_id)
        async for told in comparing:
            comparison = told if isinstance(told, EpochComparison) else None
            read = told if isinstance(told, int) else read
            yield Progress(Counts(read, max(total, read), 0), new.model_id, comparison)

    async def _cut_over(self, order: ReembedOrder) -> AsyncGenerator[Progress, None]:
        record = await self._record(order.collection_id)
        if record.model_id == order.model_id:
            yield await self._as_it_is(record, order)
            return
        epoch = epoch_of(record, order.model_id)
        if epoch is None:
            raise _no_shadow(record, order)
        await self._require_decidable(record, order.model_id)
        async for progress in self._switched(order, record, epoch, EpochState.RETIRED):
            yield progress

    async def _roll_back(self, order: ReembedOrder) -> AsyncGenerator[Progress, None]:
        record = await self._record(order.collection_id)
        named = epoch_of(record, order.model_id)
        if named is not None and named.state is EpochState.SHADOW:
            yield await self._as_it_is(record, order)
            return
        old = [epoch for epoch in inactive_of(record) if epoch.state is EpochState.RETIRED and epoch.model_id != GOING]
        if named is None or named.state is not EpochState.ACTIVE or not old:
            allowed = f"{record.model_id}, if its move is to be taken back and was not made final by DISCARD"
            raise PreconditionError("NO_RETIRED_EPOCH", "target_model_id", order.model_id, allowed)
        self._thresholds.calibration(old[0].model_id)
        async for progress in self._switched(order, record, old[0], EpochState.SHADOW):
            yield progress

    async def _discard(self, order: ReembedOrder) -> AsyncGenerator[Progress, None]:
        record = await self._record(order.collection_id)
        involved = {epoch.model_id for epoch in inactive_of(record)} - {GOING}
        if involved and order.model_id not in involved | {record.model_id}:
            raise other_move(record, order.model_id)
        active = active_of(record)
        for epoch in inactive_of(record):
            if epoch.model_id != GOING and not order.accept_loss:
                await self._require_held(record, epoch, order)
            # First nobody can build or search it any more, then its rows go.
            await self._written(order.collection_id, partial(going, epoch=epoch.epoch))
            await self._store.drop_epoch(order.collection_id, epoch.epoch)
            record = await self._written(order.collection_id, partial(without, epoch=epoch.epoch))
            yield Progress(await self._counts(record, active), active.model_id)
        yield Progress(await self._counts(record, active), active.model_id)

    # ---- what the steps share

    async def _opened(self, order: ReembedOrder) -> tuple[CollectionRecord, EpochRecord]:
        """The shadow of the order's model; it is opened where there is none."""
        record = await self._record(order.collection_id)
        if record.model_id == order.model_id:
            allowed = "another model than the one that is searched"
            raise PreconditionError("MODEL_ACTIVE", "target_model_id", order.model_id, allowed)
        await self._require_decidable(record, order.model_id)
        record = await self._written(order.collection_id, partial(with_shadow, model_id=order.model_id))
        epoch = epoch_of(record, order.model_id)
        if epoch is None:
            raise _no_shadow(record, order)
        return record, epoch

    async def _switched(
        self, order: ReembedOrder, record: CollectionRecord, epoch: EpochRecord, aside: EpochState
    ) -> AsyncGenerator[Progress, None]:
        """Have an epoch searched instead of the active one, with everybody in it who can be."""
        builder, before = self._builder(record, epoch), active_of(record)
        async for _ in builder.build():
            yield Progress(builder.counts, epoch.model_id)
        for _ in range(_SWITCHES):
            _require_complete(builder.counts, order)
            yield Progress(builder.counts, epoch.model_id)  # the last moment to turn back
            await self._written(order.collection_id, partial(activated, epoch=epoch.epoch, aside=aside))
            if not await builder.is_late():
                with contextlib.suppress(TesseraError):  # it is written: whoever cannot follow now follows later
                    await self._replica.catch_up(order.collection_id)
                yield Progress(builder.counts, epoch.model_id)
                return
            # Somebody was enrolled into the other epoch between the last look and the cut: take it back, embed, again.
            taken_back = partial(activated, epoch=before.epoch, aside=epoch.state)
            await self._written(order.collection_id, taken_back)
            async for _ in builder.settle():
                yield Progress(builder.counts, epoch.model_id)
        raise UnavailableError("store", "somebody was enrolled at each attempt; try again when fewer people are")

    async def _as_it_is(self, record: CollectionRecord, order: ReembedOrder) -> Progress:
        """The answer to a step that was done before; a cut whose process ended half-way may have left somebody out."""
        counts = await self._counts(record, active_of(record))
        if order.step is ReembedStep.CUT_OVER:
            _require_complete(counts, order)
        with contextlib.suppress(TesseraError):
            await self._replica.catch_up(order.collection_id)
        return Progress(counts, record.model_id)

    async def _require_decidable(self, record: CollectionRecord, model_id: ModelId) -> None:
        """Refuse a model under which the collection could not decide what it can decide now."""
        calibration = self._thresholds.calibration(model_id)
        if calibration.modality is not record.modality:
            raise InvalidInputError("target_model_id", model_id, f"a model for {record.modality}")
        head = (await self._store.heads([record.collection_id])).get(record.collection_id)
        now = GallerySize(head.subject_count, head.template_count) if head else GallerySize(0, 0)
        size = now.compared(record.policy.planned_gallery_size)
        policy, thresholds, beyond = record.policy, self._thresholds, record.policy.allow_extrapolation
        _require_as_good(
            lambda model: thresholds.for_comparison(
                model, policy.verify_target_fmr, impostors=policy.impostors, allow_extrapolation=beyond
            ),
            model_id,
            record,
        )
        _require_as_good(
            lambda model: thresholds.for_search(model, policy.identify_target_fpir, size, allow_extrapolation=beyond),
            model_id,
            record,
        )

    async def _require_held(self, record: CollectionRecord, epoch: EpochRecord, order: ReembedOrder) -> None:
        """Refuse to drop an epoch while it has templates that the active one lacks."""
        only_here = 0
        for shard in range(record.shards):
            active = await self._template_ids(record, shard, record.active_epoch)
            only_here += len(await self._template_ids(record, shard, epoch.epoch) - active)
        if only_here:
            _require_complete(Counts(0, only_here, only_here), order)

    async def _template_ids(self, record: CollectionRecord, shard: int, epoch: int) -> set[str]:
        found: set[str] = set()
        async for batch in self._store.load_rows(record.collection_id, shard, epoch):
            for name, rows in row_ranges(batch):
                found.update(f"{name}/{batch.template_ids[row]}" for row in rows)
        return found

    async def _counts(self, record: CollectionRecord, epoch: EpochRecord) -> Counts:
        total, held = await self._template_count(record), 0
        for shard in range(record.shards):
            async for batch in self._store.load_rows(record.collection_id, shard, epoch.epoch):
                held += len(batch.template_ids)
        return Counts(held, max(total, held), max(0, total - held))

    async def _template_count(self, record: CollectionRecord) -> int:
        head = (await self._store.heads([record.collection_id])).get(record.collection_id)
        return head.template_count if head is not None else 0

    async def _written(
        self, collection_id: CollectionId, change: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord:
        """Change the record by one write, if there is something to change; anew when somebody else was first."""
        for _ in range(_WRITES):
            record = await self._record(collection_id)
            wanted = change(record)
            if wanted is record:
                return record
            with contextlib.suppress(RevisionChangedError):
                return await self._store.update_collection(wanted, record.revision)
        raise UnavailableError("store", "the collection's record changes too often; try again")

    async def _record(self, collection_id: CollectionId) -> CollectionRecord:
        record = await self._store.find_collection(collection_id)
        if record is None:
            raise NotFoundError("collection", collection_id)
        return record

    def _builder(self, record: CollectionRecord, epoch: EpochRecord) -> EpochBuilder:
        return EpochBuilder(self._store, self._probes, self._clock, record, epoch)

    def _audit(self, order: ReembedOrder) -> AuditRecord:
        now = self._clock.now()
        return AuditRecord(
            method=f"Reembed.{order.step.value}",
            at=now,
            evidence_id=time_ordered_id("ev", now),
            caller=order.caller,
            collection_id=order.collection_id,
            request_id=order.request_id,
        )


# ---- refusals


def _no_shadow(record: CollectionRecord, order: ReembedOrder) -> PreconditionError:
    models = (
        ", ".join(each.model_id for each in inactive_of(record) if each.model_id != GOING) or "none yet; SHADOW first"
    )
    return PreconditionError("NO_SHADOW", "target_model_id", order.model_id, models)


def _require_as_good(state: Callable[[ModelId], Threshold], model_id: ModelId, record: CollectionRecord) -> None:
    """Refuse a model that cannot state a threshold which the present one can state."""
    try:
        state(model_id)
    except CalibrationTooSmallError as error:
        try:
            state(record.model_id)
        except (CalibrationTooSmallError, NoCalibrationError):
            return
        raise error from None


def _require_complete(counts: Counts, order: ReembedOrder) -> None:
    if counts.failed and not order.accept_loss:
        why = f"true, to go on without {counts.failed} of {counts.total} templates: see docs/reembedding.md"
        raise PreconditionError("TEMPLATES_MISSING", "accept_loss", "false", why)


def _log(order: ReembedOrder, last: Progress | None) -> None:
    counts = last.counts if last is not None else Counts(0, 0, 0)
    get_logger().info(
        "collection.reembedded",
        collection=order.collection_id,
        step=order.step.value,
        model=order.model_id,
        done=counts.done,
        failed=counts.failed,
    )
