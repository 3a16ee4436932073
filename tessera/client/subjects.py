"""Subjects that are there: read, change, erase. Their templates come from `tessera.client.enrolling`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from google.protobuf import field_mask_pb2

from tessera.client import answers as a
from tessera.client import subject_wire, wire
from tessera.client.connection import Connection
from tessera.client.samples import new_id
from tessera.v1 import subject_pb2


class Subjects(Connection):
    """Subjects of the gallery."""

    def get_subject(self, subject_id: str, *, collection_id: str = "") -> a.Subject:
        """One subject and its templates.

        Raises:
            NotFound: no such subject or collection.
        """
        request = subject_pb2.GetSubjectRequest(collection_id=collection_id, subject_id=subject_id)
        return subject_wire.subject_from_wire(self._gallery.call(self._gallery_stub.GetSubject, request).subject)

    def subjects(
        self, *, collection_id: str = "", labels: Sequence[str] = (), external_id: str = ""
    ) -> Iterator[a.Subject]:
        """Every subject of a collection by id, page after page.

        Args:
            collection_id: empty: the collection "default".
            labels: only subjects with all of these.
            external_id: only the subject with this one.

        Raises:
            NotFound: no such collection.
        """
        request = subject_pb2.ListSubjectsRequest(collection_id=collection_id, labels=labels, external_id=external_id)
        for page in self._gallery.pages(self._gallery_stub.ListSubjects, request):
            yield from map(subject_wire.subject_from_wire, page.subjects)

    def update_subject(
        self,
        subject_id: str,
        *,
        collection_id: str = "",
        display_name: str | None = None,
        external_id: str | None = None,
        labels: Sequence[str] | None = None,
        metadata: Mapping[str, str] | None = None,
        consent_reference: str | None = None,
        valid_from: datetime | Literal["always"] | None = None,
        valid_until: datetime | Literal["always"] | None = None,
        camera_ids: Sequence[str] | None = None,
        distinct_from: Sequence[str] | None = None,
        expected_revision: int = 0,
        request_id: str = "",
    ) -> a.SubjectChange:
        """Change what is said of a subject; what is None stays as it is.

        Args:
            subject_id: who.
            collection_id: empty: the collection "default".
            display_name: for people to read.
            external_id: the id in your own system.
            labels: all of them, instead of those it has.
            metadata: all of it, instead of what it has.
            consent_reference: where the consent is recorded.
            valid_from: decisions find the subject from then on; "always": whenever it was enrolled.
            valid_until: decisions find the subject before then; "always": for ever.
            camera_ids: only these cameras find the subject; empty: all.
            distinct_from: subjects that look like this one and are known to be others, at most 16, instead of those it
                has.
            expected_revision: refuse when the subject has another one (`Subject.revision`); 0: whatever it has.
            request_id: a retry with the same id writes once; empty: a new one.

        Raises:
            NotFound: no such subject or collection.
            NotAllowedNow: it has another revision.
            BadInput: a value is out of range, or nothing was to be changed.
        """
        moments = {"valid_from": valid_from, "valid_until": valid_until}
        values: dict[str, Any] = {
            "display_name": display_name,
            "external_id": external_id,
            "labels": labels,
            "metadata": metadata,
            "consent_reference": consent_reference,
            "camera_ids": camera_ids,
            "distinct_from": distinct_from,
            **{name: wire.time_to_wire(at) for name, at in moments.items() if isinstance(at, datetime)},
        }
        changed = {name: value for name, value in values.items() if value is not None}
        cleared = [name for name, at in moments.items() if at == "always"]
        request = subject_pb2.UpdateSubjectRequest(
            subject=subject_pb2.Subject(collection_id=collection_id, subject_id=subject_id, **changed),
            update_mask=field_mask_pb2.FieldMask(paths=[*changed, *cleared]),
            expected_revision=expected_revision,
            request_id=request_id or new_id(),
        )
        response = self._gallery.settle(self._gallery_stub.UpdateSubject, request)
        return a.SubjectChange(subject_wire.subject_from_wire(response.subject), response.position)

    def delete_template(
        self, subject_id: str, template_id: str, *, collection_id: str = "", request_id: str = ""
    ) -> a.SubjectChange:
        """Remove one template of a subject; the last one stays: erase the subject.

        Args:
            subject_id: who.
            template_id: which.
            collection_id: empty: the collection "default".
            request_id: a retry with the same id writes once; empty: a new one.

        Raises:
            NotFound: no such template, subject or collection.
            NotAllowedNow: it is the last one.
        """
        request = subject_pb2.DeleteTemplateRequest(
            collection_id=collection_id,
            subject_id=subject_id,
            template_id=template_id,
            request_id=request_id or new_id(),
        )
        response = self._gallery.settle(self._gallery_stub.DeleteTemplate, request)
        return a.SubjectChange(subject_wire.subject_from_wire(response.subject), response.position)

    def delete_subject(self, subject_id: str, *, collection_id: str = "", request_id: str = "") -> a.ErasureReceipt:
        """Erase a subject with everything of it.

        Args:
            subject_id: who.
            collection_id: empty: the collection "default".
            request_id: a retry with the same id gets the same receipt; empty: a new one.

        Raises:
            NotFound: no such subject or collection.
        """
        request = subject_pb2.DeleteSubjectRequest(
            collection_id=collection_id, subject_id=subject_id, request_id=request_id or new_id()
        )
        return subject_wire.receipt_from_wire(self._gallery.settle(self._gallery_stub.DeleteSubject, request).receipt)

    def erasure_receipt(self, receipt_id: str, *, collection_id: str = "") -> a.ErasureReceipt:
        """How far an erasure is, with a signature of its own; receipts are kept for 24 h.

        Raises:
            NotFound: no such receipt or collection.
        """
        request = subject_pb2.GetErasureReceiptRequest(collection_id=collection_id, receipt_id=receipt_id)
        return subject_wire.receipt_from_wire(self._gallery.call(self._gallery_stub.GetErasureReceipt, request).receipt)
