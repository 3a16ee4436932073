"""Messages of collections to domain values and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from google.protobuf import duration_pb2

from gallery_svc.collections import CollectionChange, CollectionView
from gallery_svc.policy_wire import DUPLICATE, OUTLIER, duplicate_policy_from, outlier_policy_from
from gallery_svc.store.collection_records import (
    DEFAULT_PERSON_RETENTION_S,
    CollectionRecord,
    DuplicatePolicy,
    EpochRecord,
    EpochState,
    GateRecord,
    OutlierPolicy,
    PolicyRecord,
    ShardPosition,
)
from gallery_svc.wire import MAX_SHARDS, collection_id_from, fields_from, optional, request_id_from
from tessera.client import wire
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import ModelId
from tessera.v1 import collection_pb2

_CHANGEABLE = {
    "display_name": "display_name",
    "policy": "policy",
    "quality_gate": "gate",
    "duplicate_policy": "duplicate_policy",
    "outlier_policy": "outlier_policy",
    "retention": "retention_s",
    "labels": "labels",
    "camera_policies": "camera_policies",
    "keep_source_images": "keep_source_images",
    "allow_persistent_persons": "allow_persistent_persons",
    "person_retention": "person_retention_s",
}
"""A record's field for each path that the mask of an update may have."""

_NOT_YET = datetime(1970, 1, 1, tzinfo=UTC)
"""The gallery sets the time when it makes the collection."""


def collection_from_wire(message: collection_pb2.CreateCollectionRequest) -> CollectionRecord:
    """The collection that a caller wants."""
    wanted = message.collection
    return replace(
        _stated(wanted, wire.modality_from_wire(wanted.modality, "collection.modality")),
        model_id=ModelId(wanted.model_id),
        request_id=request_id_from(message.request_id) or "",
        shards=_shards_from(wanted.shard_count),
    )


def collection_change(
    message: collection_pb2.UpdateCollectionRequest, modality: Modality, caller: str
) -> CollectionChange:
    """What a caller wants changed of a collection of this modality."""
    record = _stated(message.collection, modality)
    fields = fields_from(message.update_mask, _CHANGEABLE)
    return CollectionChange(record.collection_id, fields, record, message.expected_revision, caller)


def _stated(wanted: collection_pb2.Collection, modality: Modality) -> CollectionRecord:
    """What creation and change have in common."""
    return CollectionRecord(
        collection_id=collection_id_from(wanted.collection_id),
        modality=modality,
        model_id=ModelId(""),
        created_at=_NOT_YET,
        display_name=wanted.display_name,
        policy=_policy_from(wanted.policy, modality),
        gate=_gate_from(wanted.quality_gate),
        labels=dict(wanted.labels),
        keep_source_images=wanted.keep_source_images,
        duplicate_policy=duplicate_policy_from(wanted.duplicate_policy) or DuplicatePolicy.REPORT,
        outlier_policy=outlier_policy_from(wanted.outlier_policy) or OutlierPolicy.REJECT,
        retention_s=wanted.retention.ToTimedelta().total_seconds() if wanted.HasField("retention") else None,
        camera_policies={camera: _policy_from(policy, modality) for camera, policy in wanted.camera_policies.items()},
        allow_persistent_persons=wanted.allow_persistent_persons,
        person_retention_s=wanted.person_retention.ToTimedelta().total_seconds()
        if wanted.HasField("person_retention")
        else DEFAULT_PERSON_RETENTION_S,
    )


def collection_to_wire(view: CollectionView) -> collection_pb2.Collection:
    """A collection and its counts."""
    record, head = view.record, view.head
    return collection_pb2.Collection(
        collection_id=record.collection_id,
        display_name=record.display_name,
        modality=wire.modality_to_wire(record.modality),
        model_id=record.model_id,
        policy=_policy(record.policy),
        quality_gate=collection_pb2.QualityGate(
            **{name: getattr(record.gate, name) for name in GateRecord.__dataclass_fields__}
        ),
        duplicate_policy=collection_pb2.DuplicatePolicy.Value(DUPLICATE + record.duplicate_policy),
        outlier_policy=collection_pb2.OutlierPolicy.Value(OUTLIER + record.outlier_policy),
        retention=None if record.retention_s is None else _duration(record.retention_s),
        labels=record.labels,
        camera_policies={camera: _policy(policy) for camera, policy in record.camera_policies.items()},
        created_at=wire.time_to_wire(record.created_at),
        subject_count=head.subject_count,
        template_count=head.template_count,
        position=head.positions[0].sequence,
        shard_count=record.shards,
        positions=[ShardPosition(shard, at.sequence).wire for shard, at in enumerate(head.positions)],
        epochs=[_epoch(epoch) for epoch in _epochs(record)],
        keep_source_images=record.keep_source_images,
        revision=record.revision,
        allow_persistent_persons=record.allow_persistent_persons,
        person_retention=_duration(record.person_retention_s) if record.modality is Modality.PERSON else None,
    )


def _policy(policy: PolicyRecord) -> collection_pb2.DecisionPolicy:
    return collection_pb2.DecisionPolicy(
        verify_target_fmr=policy.verify_target_fmr,
        identify_target_fpir=policy.identify_target_fpir,
        planned_gallery_size=policy.planned_gallery_size,
        min_tracklet_frames=policy.min_tracklet_frames,
        allow_extrapolation=policy.allow_extrapolation,
        impostors=wire.impostors_to_wire(policy.impostors),
    )


def _duration(seconds: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


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


def _policy_from(message: collection_pb2.DecisionPolicy, modality: Modality) -> PolicyRecord:
    default = PolicyRecord.usual(modality)
    impostors = wire.impostors_from_wire(message.impostors, default.impostors, "policy.impostors")
    fmr, fpir = optional(message, "verify_target_fmr"), optional(message, "identify_target_fpir")
    usual_fmr = default.verify_target_fmr if impostors is default.impostors else impostors.default_target_fmr
    return PolicyRecord(
        verify_target_fmr=usual_fmr if fmr is None else fmr,
        identify_target_fpir=default.identify_target_fpir if fpir is None else fpir,
        planned_gallery_size=message.planned_gallery_size,
        min_tracklet_frames=message.min_tracklet_frames or default.min_tracklet_frames,
        allow_extrapolation=message.allow_extrapolation,
        impostors=impostors,
    )
