"""The gallery as a bulk enrolment sees it, over a connection of the SDK.

It tells the journal where the gallery is, and narrows the SDK to what a bulk enrolment uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tessera.client import Tessera
from tessera.client.answers import DuplicatePolicy, Enrolment, OutlierPolicy, Subject


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
        duplicate_policy: DuplicatePolicy | None = None,
        outlier_policy: OutlierPolicy | None = None,
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
            duplicate_policy: what to do when the pictures already are another subject's; None: the collection's.
            outlier_policy: what to do with a picture unlike the subject's others; None: the collection's.
            request_id: the same id with the same content writes once.

        Raises:
            TesseraCallError: as `tessera.client.errors` tells.
        """
        return self._tessera.enroll(
            subject_id,
            images,
            collection_id=collection_id,
            display_name=display_name,
            external_id=external_id,
            labels=labels,
            consent_reference=consent_reference,
            valid_from=valid_from,
            valid_until=valid_until,
            duplicate_policy=duplicate_policy,
            outlier_policy=outlier_policy,
            request_id=request_id,
        )
