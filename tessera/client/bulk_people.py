"""The gallery as a bulk enrolment sees it, over a connection of the SDK.

It stands for `Tessera` only because a CSV file also says from when until when somebody is valid, which `Tessera.enroll`
does not take; when it does, `Tessera` itself is a `People`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tessera.client import Tessera, answers_wire, wire
from tessera.client.answers import Enrolment, Subject
from tessera.v1 import biometrics_pb2, subject_pb2


class TesseraPeople:
    """Enrols through a connection; may be used from several threads.

    Args:
        tessera: it stays its caller's to close.
    """

    def __init__(self, tessera: Tessera) -> None:
        self._tessera = tessera

    @property
    def address(self) -> str:
        """Where the gallery listens, as `host:port`."""
        return self._tessera._gallery.address

    def get_subject(self, subject_id: str, *, collection_id: str = "") -> Subject:
        """As `Tessera.get_subject`."""
        return self._tessera.get_subject(subject_id, collection_id=collection_id)

    def enroll(
        self,
        subject_id: str,
        images: Sequence[bytes],
        *,
        collection_id: str = "",
        display_name: str = "",
        external_id: str = "",
        labels: Sequence[str] = (),
        consent_reference: str = "",
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        request_id: str = "",
    ) -> Enrolment:
        """As `Tessera.enroll`.

        Args:
            subject_id: who.
            images: the bytes of 1 to 16 pictures.
            collection_id: empty: the collection "default".
            display_name: for people to read.
            external_id: the id in your own system.
            labels: such as "staff".
            consent_reference: where the consent is recorded.
            valid_from: nothing finds the subject before; None: always.
            valid_until: nothing finds the subject from then on; None: for ever.
            request_id: the same id with the same content writes once.

        Raises:
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = subject_pb2.EnrollSubjectRequest(
            collection_id=collection_id,
            subject_id=subject_id,
            samples=[biometrics_pb2.Probe(image=biometrics_pb2.Image(data=data)) for data in images],
            request_id=request_id,
            consent_reference=consent_reference,
            display_name=display_name,
            external_id=external_id,
            labels=labels,
            valid_from=wire.time_to_wire(valid_from) if valid_from is not None else None,
            valid_until=wire.time_to_wire(valid_until) if valid_until is not None else None,
        )
        # The SDK's own parts: the two belong together until `Tessera.enroll` takes the two dates.
        gallery, stub = self._tessera._gallery, self._tessera._gallery_stub
        return answers_wire.enrolment_from_wire(gallery.call(stub.EnrollSubject, request), request_id)
