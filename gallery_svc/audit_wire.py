"""Messages of `QueryAudit` to domain values and back."""

from __future__ import annotations

import contextlib
from datetime import datetime

from gallery_svc.audit_query import AuditPage, AuditQuestion, ToldEntry
from gallery_svc.store.audit_records import AuditRecord
from tessera.client import wire as shared
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import CollectionId, checked_id
from tessera.v1 import audit_pb2, biometrics_pb2


def audit_question(message: audit_pb2.QueryAuditRequest) -> AuditQuestion:
    """Which entries a caller wants. No collection: all of them, and what belongs to none."""
    since, until = _moment(message, "from"), _moment(message, "until")
    if since is not None and until is not None and until <= since:
        raise InvalidInputError("until", until.isoformat(), "a moment after `from`")
    collection_id = message.collection_id and checked_id("collection_id", message.collection_id)
    return AuditQuestion(
        collection_id=CollectionId(collection_id) if collection_id else None,
        subject_id=message.subject_id and checked_id("subject_id", message.subject_id),
        evidence_id=message.evidence_id and checked_id("evidence_id", message.evidence_id),
        since=since,
        until=until,
    )


def audit_response(page: AuditPage) -> audit_pb2.QueryAuditResponse:
    """One page of entries."""
    return audit_pb2.QueryAuditResponse(
        entries=[_entry(told) for told in page.entries], next_page_token=page.next_token
    )


def _entry(told: ToldEntry) -> audit_pb2.AuditEntry:
    stamped, stamp, record = told.stamped, told.stamped.stamp, told.record
    message = audit_pb2.AuditEntry(
        sequence=stamped.sequence,
        digest=told.chain,
        log=stamped.log,
        writer=stamp.writer,
        writer_count=stamp.n,
        writer_settled=stamp.settled,
        given_up=stamp.given_up,
        mac=stamp.mac,
        entry=stamped.entry,
    )
    with contextlib.suppress(TypeError, ValueError):  # what somebody else put there may be no record of ours
        message.MergeFrom(_record(record) if record is not None else audit_pb2.AuditEntry())
    return message


def _record(record: AuditRecord) -> audit_pb2.AuditEntry:
    return audit_pb2.AuditEntry(
        time=shared.time_to_wire(record.at),
        method=record.method,
        caller=record.caller,
        collection_id=record.collection_id or "",
        subject_id=record.subject_id or "",
        request_id=record.request_id,
        evidence_id=record.evidence_id,
        outcome=shared.outcome_to_wire(record.outcome) if record.outcome else biometrics_pb2.OUTCOME_UNSPECIFIED,
        threshold=shared.threshold_to_wire(record.threshold) if record.threshold is not None else None,
    )


def _moment(message: audit_pb2.QueryAuditRequest, name: str) -> datetime | None:
    return shared.time_from_wire(getattr(message, name), name) if message.HasField(name) else None  # type: ignore[arg-type]  # one of two names
