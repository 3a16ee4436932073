"""A collection in words: who is in it, at which rates it decides, and what it does with pictures and people."""

from __future__ import annotations

from datetime import timedelta

from tessera.cli.choices import typed
from tessera.cli.words import against_text, rate_text
from tessera.client.answers import Collection, DecisionPolicy, QualityGate
from tessera.domain.calibration import Impostors


def list_text(found: list[Collection]) -> str:
    """One on a line."""
    width = max(len(one.collection_id) for one in found)
    return "\n".join(
        f"{one.collection_id:<{width}}  {one.subject_count:>7} subjects  {one.template_count:>7} templates  "
        f"{one.model_id}  {one.display_name}".rstrip()
        for one in found
    )


def show_text(one: Collection) -> str:
    """All of it, one thing on a line."""
    parts = "1 part" if one.shard_count == 1 else f"{one.shard_count} parts"
    rows = [
        ("collection", one.collection_id),
        ("name", one.display_name),
        ("model", f"{one.model_id} ({one.modality.lower()})"),
        ("subjects", f"{one.subject_count}, with {one.template_count} templates, in {parts}"),
        ("decides", _policy_text(one.policy)),
        *((f"at {camera}", _policy_text(policy)) for camera, policy in sorted(one.camera_policies.items())),
        ("gate", _gate_text(one.quality_gate)),
        ("duplicates", typed(one.duplicate_policy)),
        ("outliers", typed(one.outlier_policy)),
        ("retention", _retention_text(one.retention)),
        ("persons", _persons_text(one)),
        ("pictures", "kept, sealed" if one.keep_source_images else "not kept"),
        ("labels", ", ".join(f"{key}={value}" for key, value in sorted(one.labels.items()))),
    ]
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{value}" for name, value in rows if value)


def _policy_text(policy: DecisionPolicy) -> str:
    planned = policy.planned_gallery_size
    among = f"{planned} subjects or more" if planned else "those who are enrolled"
    fmr = "the usual" if policy.verify_target_fmr is None else rate_text(policy.verify_target_fmr)
    parts = [
        f"FMR <= {fmr}{against_text(policy.impostors or Impostors.RANDOM)}",
        f"FPIR <= {rate_text(policy.identify_target_fpir)} among {among}",
        f"from {policy.min_tracklet_frames} frame{'' if policy.min_tracklet_frames == 1 else 's'} on",
        "beyond the calibration's data too" if policy.allow_extrapolation else "",
    ]
    return ", ".join(part for part in parts if part)


def _gate_text(gate: QualityGate) -> str:
    bounds = {name: getattr(gate, name) for name in QualityGate.__dataclass_fields__}
    told = [f"{name} {bound:g}" for name, bound in bounds.items() if bound is not None]
    return ", ".join([*told, "for the rest the encoder's own" if told else "the encoder's own"])


def _persons_text(one: Collection) -> str:
    """What is kept of persons; empty of anything else."""
    if one.person_retention is None:
        return ""
    minutes = one.person_retention.total_seconds() / 60
    span = f"{minutes / 60:g} h" if minutes >= 60 else f"{minutes:g} min"
    enrolled = "may be enrolled" if one.allow_persistent_persons else "are never enrolled"
    return f"{enrolled}; what is kept of those who were seen is erased after {span}"


def _retention_text(retention: timedelta | None) -> str:
    if retention is None:
        return "kept until somebody erases them"
    hours = retention.total_seconds() / 3600
    span = f"{hours / 24:g} days" if hours % 24 == 0 else f"{hours:g} hours"
    return f"erased {'1 day' if span == '1 days' else span} after their last enrolment"
