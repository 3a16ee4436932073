"""Messages about collections to the SDK's values and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration

from tessera.client import collection_values as v
from tessera.client import wire
from tessera.domain.calibration import DEFAULT_TARGET_FMR
from tessera.domain.errors import InvalidInputError
from tessera.v1 import collection_pb2

Choice = TypeVar("Choice", bound=StrEnum)

# ---- what a collection is


def collection_from_wire(message: collection_pb2.Collection) -> v.Collection:
    """Who is searched together."""
    return v.Collection(
        collection_id=message.collection_id,
        display_name=message.display_name,
        modality=wire.modality_from_wire(message.modality),
        model_id=message.model_id,
        subject_count=message.subject_count,
        template_count=message.template_count,
        shard_count=message.shard_count,
        positions=tuple(message.positions),
        keep_source_images=message.keep_source_images,
        labels=dict(message.labels),
        revision=message.revision,
        epochs=tuple(_epoch(epoch) for epoch in message.epochs),
        policy=_policy_from_wire(message.policy),
        quality_gate=_gate_from_wire(message.quality_gate),
        duplicate_policy=_duplicate_policy_from_wire(message.duplicate_policy),
        outlier_policy=_outlier_policy_from_wire(message.outlier_policy),
        retention=message.retention.ToTimedelta() if message.HasField("retention") else None,
        camera_policies={camera: _policy_from_wire(policy) for camera, policy in message.camera_policies.items()},
        allow_persistent_persons=message.allow_persistent_persons,
        person_retention=message.person_retention.ToTimedelta() if message.HasField("person_retention") else None,
    )


def _epoch(message: collection_pb2.ModelEpoch) -> v.ModelEpoch:
    state = wire.enum_name(collection_pb2.EpochState, message.state, "EPOCH_STATE_")
    return v.ModelEpoch(message.epoch, message.model_id, state)


def _policy_from_wire(message: collection_pb2.DecisionPolicy) -> v.DecisionPolicy:
    default = v.DecisionPolicy()
    has_fmr, has_fpir = message.HasField("verify_target_fmr"), message.HasField("identify_target_fpir")
    return v.DecisionPolicy(
        verify_target_fmr=message.verify_target_fmr if has_fmr else DEFAULT_TARGET_FMR,
        identify_target_fpir=message.identify_target_fpir if has_fpir else default.identify_target_fpir,
        planned_gallery_size=message.planned_gallery_size,
        min_tracklet_frames=message.min_tracklet_frames or default.min_tracklet_frames,
        allow_extrapolation=message.allow_extrapolation,
        impostors=wire.impostors_from_wire(message.impostors) if message.impostors else None,
    )


def _gate_from_wire(message: collection_pb2.QualityGate) -> v.QualityGate:
    """The gate; a bound as it was written, not as 32 bits hold it: 0.4 comes back as 0.4."""
    names = v.QualityGate.__dataclass_fields__
    return v.QualityGate(**{name: round(getattr(message, name), 6) for name in names if message.HasField(name)})  # type: ignore[arg-type] # the stubs want each name as a literal


def _duplicate_policy_from_wire(number: int) -> v.DuplicatePolicy:
    """A policy of a later version as the one that only tells."""
    name = wire.enum_name(collection_pb2.DuplicatePolicy, number, "DUPLICATE_POLICY_")
    return v.DuplicatePolicy.__members__.get(name, v.DuplicatePolicy.REPORT)


def _outlier_policy_from_wire(number: int) -> v.OutlierPolicy:
    name = wire.enum_name(collection_pb2.OutlierPolicy, number, "OUTLIER_POLICY_")
    return v.OutlierPolicy.__members__.get(name, v.OutlierPolicy.REJECT)


# ---- what its owner wants


def policy_to_wire(policy: v.DecisionPolicy) -> collection_pb2.DecisionPolicy:
    """Error rates."""
    return collection_pb2.DecisionPolicy(**asdict(policy) | {"impostors": wire.impostors_to_wire(policy.impostors)})


def gate_to_wire(gate: v.QualityGate) -> collection_pb2.QualityGate:
    """A quality gate; what it leaves to the encoder is not sent."""
    return collection_pb2.QualityGate(**asdict(gate))


def camera_policies_to_wire(policies: Mapping[str, v.DecisionPolicy]) -> dict[str, collection_pb2.DecisionPolicy]:
    """Error rates by camera."""
    return {camera: policy_to_wire(policy) for camera, policy in policies.items()}


def retention_to_wire(retention: timedelta) -> Duration:
    """How long subjects are kept."""
    return wire.seconds_to_wire(retention.total_seconds())


def duplicate_policy_to_wire(policy: v.DuplicatePolicy | None) -> collection_pb2.DuplicatePolicy.ValueType:
    """`REPORT` as `DUPLICATE_POLICY_REPORT`; None is unspecified.

    Raises:
        InvalidInputError: no such policy.
    """
    if policy is None:
        return collection_pb2.DUPLICATE_POLICY_UNSPECIFIED
    return collection_pb2.DuplicatePolicy.Value(f"DUPLICATE_POLICY_{_chosen(v.DuplicatePolicy, policy)}")


def outlier_policy_to_wire(policy: v.OutlierPolicy | None) -> collection_pb2.OutlierPolicy.ValueType:
    """`REPORT` as `OUTLIER_POLICY_REPORT`; None is unspecified.

    Raises:
        InvalidInputError: no such policy.
    """
    if policy is None:
        return collection_pb2.OUTLIER_POLICY_UNSPECIFIED
    return collection_pb2.OutlierPolicy.Value(f"OUTLIER_POLICY_{_chosen(v.OutlierPolicy, policy)}")


def _chosen(kind: type[Choice], value: Choice) -> Choice:
    """The word of a choice as the choice: scripts write it as text."""
    try:
        return kind(value)
    except ValueError:
        field = "duplicate_policy" if kind is v.DuplicatePolicy else "outlier_policy"
        raise InvalidInputError(field, value, ", ".join(kind)) from None
