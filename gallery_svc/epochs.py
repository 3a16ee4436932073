"""The epochs of a collection: which models it has templates of, and which of them is searched.

Only what a record says before and after a step; nothing here reads or writes. A number is never used for two epochs.
"""

from __future__ import annotations

from dataclasses import replace

from gallery_svc.store.collection_records import CollectionRecord, EpochRecord, EpochState
from tessera.domain.errors import PreconditionError
from tessera.domain.ids import ModelId

GOING = ModelId("")
"""The model of an epoch whose rows are being removed: a discard that ended half-way is gone on with."""


def epochs_of(record: CollectionRecord) -> tuple[EpochRecord, ...]:
    """A collection's epochs, also of one that never moved."""
    return record.epochs or (EpochRecord(record.active_epoch, record.model_id, EpochState.ACTIVE),)


def epoch_of(record: CollectionRecord, model_id: ModelId) -> EpochRecord | None:
    """The epoch of a model; None: there is none."""
    return next((each for each in epochs_of(record) if each.model_id == model_id), None)


def active_of(record: CollectionRecord) -> EpochRecord:
    """The one that is searched."""
    return next(each for each in epochs_of(record) if each.epoch == record.active_epoch)


def inactive_of(record: CollectionRecord) -> list[EpochRecord]:
    """All others."""
    return [each for each in epochs_of(record) if each.epoch != record.active_epoch]


def with_shadow(record: CollectionRecord, model_id: ModelId) -> CollectionRecord:
    """The record with an epoch of a model; the record itself when it has one.

    Raises:
        PreconditionError: another move has not ended (MOVE_OPEN).
    """
    if epoch_of(record, model_id) is not None:
        return record
    if inactive_of(record):
        raise other_move(record, model_id)
    # The record's revision only grows.
    epoch = EpochRecord(record.revision + 1, model_id, EpochState.SHADOW)
    return replace(record, epochs=(*epochs_of(record), epoch))


def activated(record: CollectionRecord, epoch: int, aside: EpochState) -> CollectionRecord:
    """The record under which another epoch is searched.

    Args:
        record: as it is.
        epoch: to be searched.
        aside: what becomes of the one that is searched now.

    Raises:
        PreconditionError: the epoch is no longer there (NO_SHADOW).
    """
    target = next((each for each in epochs_of(record) if each.epoch == epoch and each.model_id != GOING), None)
    if target is None:
        raise PreconditionError("NO_SHADOW", "target_model_id", "", "an epoch that was not discarded meanwhile")
    states = {record.active_epoch: aside, epoch: EpochState.ACTIVE}
    epochs = tuple(replace(each, state=states.get(each.epoch, each.state)) for each in epochs_of(record))
    return replace(record, active_epoch=epoch, model_id=target.model_id, epochs=epochs)


def going(record: CollectionRecord, epoch: int) -> CollectionRecord:
    """The record under which nobody builds or searches an epoch any more.

    Raises:
        PreconditionError: it is the one that is searched (MODEL_ACTIVE).
    """
    if epoch == record.active_epoch:
        raise PreconditionError("MODEL_ACTIVE", "target_model_id", record.model_id, "an epoch that is not searched")
    epochs = tuple(replace(each, model_id=GOING) if each.epoch == epoch else each for each in epochs_of(record))
    return replace(record, epochs=epochs)


def without(record: CollectionRecord, epoch: int) -> CollectionRecord:
    """The record once an epoch's rows are gone."""
    return replace(record, epochs=tuple(each for each in epochs_of(record) if each.epoch != epoch))


def other_move(record: CollectionRecord, model_id: ModelId) -> PreconditionError:
    """What is told to whoever begins a move beside another one."""
    models = ", ".join(each.model_id or "one that is being discarded" for each in inactive_of(record))
    allowed = f"no second move beside the one that is open: {models}; DISCARD ends it"
    return PreconditionError("MOVE_OPEN", "target_model_id", model_id, allowed)
