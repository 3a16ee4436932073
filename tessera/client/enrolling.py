"""What templates are made of: enrolments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from tessera.client import answers as a
from tessera.client import answers_wire, wire
from tessera.client.connection import Connection
from tessera.client.samples import Sample, new_id, probe_of
from tessera.domain.embedding import Embedding
from tessera.v1 import subject_pb2


class Enrolling(Connection):
    """Adds samples to subjects."""

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
            request_id: the same id with the same content writes once, however often it is sent; empty: a new one, so
                that this call's own retries write once.

        Raises:
            BadInput: no sample could be used; `reason` says why the first could not.
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
        )
        response = self._gallery.settle(self._gallery_stub.EnrollSubject, request)
        return answers_wire.enrolment_from_wire(response, request_id)
