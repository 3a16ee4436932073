"""Messages of collections and calibrations to domain values and back."""

from __future__ import annotations

from datetime import UTC, datetime

from gallery_svc.collections import CollectionChange, CollectionView
from gallery_svc.store.records import (
    CollectionRecord,
    EpochRecord,
    EpochState,
    GateRecord,
    PolicyRecord,
    ShardPosition,
)
from gallery_svc.wire import MAX_SHARDS, collection_id_from, fields_from, optional, request_id_from
from tessera.client import wire
from tessera.domain.calibration import Calibration, OperatingPoint
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import ModelId
from tessera.v1 import calibration_pb2, collection_pb2

_CHANGEABLE = {
    "display_name": "display_name",
    "policy": "policy",
    "quality_gate": "gate",
    "labels": "labels",
    "keep_source_images": "keep_source_images",
}
"""A record's field for each path that the mask of an update may have."""

_NOT_YET = datetime(1970, 1, 1, tzinfo=UTC)
"""The gallery sets the time when it makes the collection."""


def collection_from_wire(message: collection_pb2.CreateCollectionRequest) -> CollectionRecord:
    """The collection that a caller wants."""
    wanted = message.collection
    return CollectionRecord(
        collection_id=collection_id_from(wanted.collection_id),
        modality=wire.modality_from_wire(wanted.modality, "collection.modality"),
        model_id=ModelId(wanted.model_id),
        created_at=_NOT_YET,
        display_name=wanted.display_name,
        policy=_policy_from(wanted.policy),
        gate=_gate_from(wanted.quality_gate),
        labels=dict(wanted.labels),
        request_id=request_id_from(message.request_id) or "",
        shards=_shards_from(wanted.shard_count),
        keep_source_images=wanted.keep_source_images,
    )


def collection_change(message: collection_pb2.UpdateCollectionRequest, caller: str) -> CollectionChange:
    """What a caller wants changed of a collection."""
    wanted = message.collection
    collection_id = collection_id_from(wanted.collection_id)
    record = CollectionRecord(
        collection_id=collection_id,
        modality=Modality.FACE,
        model_id=ModelId(""),
        created_at=_NOT_YET,
        display_name=wanted.display_name,
        policy=_policy_from(wanted.policy),
        gate=_gate_from(wanted.quality_gate),
        labels=dict(wanted.labels),
        keep_source_images=wanted.keep_source_images,
    )
    fields = fields_from(message.update_mask, _CHANGEABLE)
    return CollectionChange(collection_id, fields, record, message.expected_revision, caller)


def collection_to_wire(view: CollectionView) -> collection_pb2.Collection:
    """A collection and its counts."""
    record, head = view.record, view.head
    return collection_pb2.Collection(
        collection_id=record.collection_id,
        display_name=record.display_name,
        modality=wire.modality_to_wire(record.modality),
        model_id=record.model_id,
        policy=collection_pb2.DecisionPolicy(
            verify_target_fmr=record.policy.verify_target_fmr,
            identify_target_fpir=record.policy.identify_target_fpir,
            planned_gallery_size=record.policy.planned_gallery_size,
            min_tracklet_frames=record.policy.min_tracklet_frames,
        ),
        quality_gate=collection_pb2.QualityGate(
            **{name: getattr(record.gate, name) for name in GateRecord.__dataclass_fields__}
        ),
        labels=record.labels,
        created_at=wire.time_to_wire(record.created_at),
        subject_count=head.subject_count,
        template_count=head.template_count,
        position=head.positions[0].sequence,
        shard_count=record.shards,
        positions=[ShardPosition(shard, at.sequence).wire for shard, at in enumerate(head.positions)],
        epochs=[_epoch(epoch) for epoch in _epochs(record)],
        keep_source_images=record.keep_source_images,
        revision=record.revision,
    )


def calibration_to_wire(calibration: Calibration) -> calibration_pb2.Calibration:
    """A calibration with its points."""
    data = calibration.data
    created = datetime.fromisoformat(calibration.created)
    return calibration_pb2.Calibration(
        calibration_id=calibration.calibration_id,
        model_id=calibration.model_id,
        modality=wire.modality_to_wire(calibration.modality),
        created_at=wire.time_to_wire(created if created.tzinfo else created.replace(tzinfo=UTC)),
        active=True,
        data_name=data.name,
        data_digest=data.digest,
        subjects=data.subjects,
        samples=data.samples,
        mated_comparisons=data.mated,
        non_mated_comparisons=data.non_mated,
        points=[_point(point) for point in calibration.points],
    )


def _point(point: OperatingPoint) -> calibration_pb2.CalibrationPoint:
    return calibration_pb2.CalibrationPoint(
        threshold=point.threshold,
        fmr=point.fmr,
        fmr_low=point.fmr_interval.low,
        fmr_high=point.fmr_interval.high,
        fnmr=point.fnmr,
        fnmr_low=point.fnmr_interval.low,
        fnmr_high=point.fnmr_interval.high,
    )


def _epochs(record: CollectionRecord) -> tuple[EpochRecord, ...]:
    return record.epochs or (EpochRecord(record.active_epoch, record.model_id, EpochState.ACTIVE),)


def _epoch(epoch: EpochRecord) -> collection_pb2.ModelEpoch:
    state = collection_pb2.EpochState.Value(f"EPOCH_STATE_{epoch.state}")
    return collection_pb2.ModelEpoch(epoch=epoch.epoch, model_id=epoch.model_id, state=state)


def _shards_from(count: int) -> int:
    if count > MAX_SHARDS:
        raise InvalidInputError("collection.shard_count", count, f"1 to {MAX_SHARDS}; 0: the server's setting")
    return count


def _gate_from(message: collection_pb2.QualityGate) -> GateRecord:
    return GateRecord(**{name: optional(message, name) for name in GateRecord.__dataclass_fields__})


def _policy_from(message: collection_pb2.DecisionPolicy) -> PolicyRecord:
    default = PolicyRecord()
    fmr, fpir = optional(message, "verify_target_fmr"), optional(message, "identify_target_fpir")
    return PolicyRecord(
        verify_target_fmr=default.verify_target_fmr if fmr is None else fmr,
        identify_target_fpir=default.identify_target_fpir if fpir is None else fpir,
        planned_gallery_size=message.planned_gallery_size,
        min_tracklet_frames=message.min_tracklet_frames or default.min_tracklet_frames,
    )
