"""What the pictures of one subject are asked for under, and what answers and refusals come to. Asks nobody."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from tessera.client.answers import DuplicatePolicy, OutlierPolicy, Subject
from tessera.client.bulk_journal import BulkStatus, SubjectResult
from tessera.client.bulk_pictures import PictureFile, PictureResult
from tessera.client.bulk_plan import PlannedSubject
from tessera.client.errors import BadInput, DuplicateSubject
from tessera.domain.errors import InvalidInputError
from tessera.domain.reasons import Reason


def request_id_of(
    subject: PlannedSubject,
    files: Sequence[PictureFile],
    collection_id: str,
    *,
    duplicate_policy: DuplicatePolicy | None = None,
    outlier_policy: OutlierPolicy | None = None,
) -> str:
    """The id of the request that enrols these pictures: the same content has the same, anything else another."""
    policies = {"duplicates": duplicate_policy, "outliers": outlier_policy}
    told = {
        **asdict(subject),
        "pictures": [(file.name, file.sha256) for file in files],
        "collection_id": collection_id or "default",
        **{name: policy for name, policy in policies.items() if policy is not None},
    }
    return f"bulk-{hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()}"


def not_sent(subject: PlannedSubject) -> SubjectResult:
    """Somebody whose turn did not come."""
    return SubjectResult(subject.subject_id, BulkStatus.NOT_SENT, (), "the run ended before its turn")


def rejected(result: SubjectResult, files: Sequence[PictureFile], error: BadInput | InvalidInputError) -> SubjectResult:
    """No picture of this part was taken; those of other parts stand."""
    told = error.details if isinstance(error, BadInput) else {}
    reasons = [told.get(f"samples[{at}]", "").split(",") for at in range(len(files))]
    pictures = tuple(
        PictureResult(file.name, accepted=False, reasons=tuple(name for name in why if name))
        for file, why in zip(files, reasons, strict=True)
    )
    return replace(result, pictures=result.pictures + pictures, detail=result.detail or str(error))


def refused_duplicate(result: SubjectResult, files: Sequence[PictureFile], error: DuplicateSubject) -> SubjectResult:
    """Nothing of this part was written: whoever it shows is enrolled already, under another id."""
    pictures = tuple(PictureResult(file.name, accepted=False, reasons=(Reason.DUPLICATE.value,)) for file in files)
    return replace(
        result,
        pictures=result.pictures + pictures,
        duplicates=joined(result.duplicates, error.subject_ids),
        detail=result.detail or error.message,
    )


def joined(before: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys((*before, *more)))


def differences(subject: PlannedSubject, there: Subject | None) -> str:
    """What the source says otherwise than the gallery, which adding no picture does not change."""
    if there is None:
        return ""
    names = ("display_name", "external_id", "labels", "consent_reference")
    other = [name for name in names if getattr(subject, name) and getattr(subject, name) != getattr(there, name)]
    return f"in the gallery it has another {', '.join(other)}; not changed" if other else ""
