"""Where templates come from and go to: enrolments, and what somebody who knows says of a wrong decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from tessera.client import answers as a
from tessera.client import collection_wire, subject_wire, wire
from tessera.client.connection import Connection
from tessera.client.samples import Sample, new_id, probe_of
from tessera.domain.embedding import Embedding
from tessera.v1 import subject_pb2


class Enrolling(Connection):
    """Adds samples to subjects, and corrects what was learnt from them."""

    def enroll(
        self,
        subject_id: str,
        images: Sample | Sequence[Sample],
        *,
        model_id: str = "",
        collection_id: str = "",
        display_name: str = "",
        external_id: str = "",
        labels: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
        consent_reference: str = "",
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        camera_ids: Sequence[str] = (),
        require_all: bool = False,
        duplicate_policy: a.DuplicatePolicy | None = None,
        outlier_policy: a.OutlierPolicy | None = None,
        request_id: str = "",
    ) -> a.Enrolment:
        """Add samples to a subject, and the subject itself when it is new. All of it is written, or nothing.

        When nobody can say whether it was written, the same id is sent again until the deadline: that settles it.

        Args:
            subject_id: who; empty: the service makes an id.
            images: 1 to 16 samples of this one person.
            model_id: who made them, when they are bare arrays.
            collection_id: empty: the collection "default".
            display_name: for people to read.
            external_id: the id in your own system.
            labels: such as "staff".
            metadata: your own keys and values.
            consent_reference: where the consent is recorded.
            valid_from: decisions find the subject from then on, with its zone; None: as it is, or always.
            valid_until: decisions find the subject before then, with its zone; None: as it is, or for ever.
            camera_ids: only these cameras find the subject; empty: as it is, or all.
            require_all: refuse the whole enrolment when one sample is not good enough.
            duplicate_policy: what to do when the samples already are another subject's; None: the collection's.
            outlier_policy: what to do with a sample unlike the subject's others; None: the collection's.
            request_id: the same id with the same content writes once, however often it is sent; empty: a new one, so
                that this call's own retries write once.

        Raises:
            BadInput: no sample could be used; `reason` says why the first could not.
            DuplicateSubject: the samples already are another subject's (`subject_ids`), and that is refused.
            AlreadyExists: the request id came before with other content.
            OutcomeUnknown: nobody could say until the deadline; call again with the id in `details["request_id"]`.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request_id = request_id or new_id()
        samples = [images] if isinstance(images, Path | str | bytes | Embedding | np.ndarray) else images
        request = subject_pb2.EnrollSubjectRequest(
            collection_id=collection_id,
            subject_id=subject_id,
            samples=[probe_of(sample, model_id) for sample in samples],
            request_id=request_id,
            consent_reference=consent_reference,
            display_name=display_name,
            external_id=external_id,
            labels=labels,
            metadata=metadata,
            valid_from=wire.time_to_wire(valid_from) if valid_from else None,
            valid_until=wire.time_to_wire(valid_until) if valid_until else None,
            camera_ids=camera_ids,
            require_all=require_all,
            duplicate_policy=collection_wire.duplicate_policy_to_wire(duplicate_policy),
            outlier_policy=collection_wire.outlier_policy_to_wire(outlier_policy),
        )
        response = self._gallery.settle(self._gallery_stub.EnrollSubject, request)
        return subject_wire.enrolment_from_wire(response, request_id)

    def correct(
        self,
        subject_id: str,
        image: Sample,
        verdict: a.Verdict,
        *,
        model_id: str = "",
        collection_id: str = "",
        dry_run: bool = False,
        evidence_id: str = "",
        request_id: str = "",
    ) -> a.Correction:
        """Say that a decision was wrong. Templates are changed only where that makes the subject's set better.

        Args:
            subject_id: of whom it was decided.
            image: the sample that was decided wrongly.
            verdict: what is right.
            model_id: who made it, when `image` is a bare array.
            collection_id: empty: the collection "default".
            dry_run: say what would be done, and do nothing; it is in the audit log all the same.
            evidence_id: of the wrong decision (`Answer.evidence_id`), for the audit log.
            request_id: a retry with the same id adds a template once; empty: a new one.

        Raises:
            NotFound: no such subject or collection.
            BadInput: the picture cannot be used, or does not show exactly one person.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = subject_pb2.CorrectSubjectRequest(
            collection_id=collection_id,
            subject_id=subject_id,
            sample=probe_of(image, model_id),
            verdict=subject_wire.verdict_to_wire(verdict),
            dry_run=dry_run,
            evidence_id=evidence_id,
            request_id=request_id or new_id(),
        )
        return subject_wire.correction_from_wire(self._gallery.settle(self._gallery_stub.CorrectSubject, request))
