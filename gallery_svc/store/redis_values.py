"""Subjects as sealed bytes and back: one data key a subject, one value for its record and one for each epoch's row.

An answer to a request is kept without a wrapped key of its own: only the subject's record opens it, and so it ends with
the subject. Nothing here asks a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import urandom

from gallery_svc.rows import SearchRow
from gallery_svc.store import codec
from gallery_svc.store.merging import SubjectState
from gallery_svc.store.row_codec import pack_row, unpack_row
from gallery_svc.store.sealing import DATA_KEY_BYTES, LEAST_BYTES, Place, Sealer, SubjectSealer
from gallery_svc.store.subject_records import SubjectRecord
from tessera.domain.errors import StoreCorruptError
from tessera.domain.ids import SubjectId, TemplateId, TrackletId

_NONCE_AND_TAG_BYTES = 28
WRAP_BYTES = LEAST_BYTES - _NONCE_AND_TAG_BYTES
"""What stands in front of a sealed value's body: which key wraps its data key, and the wrapped key."""

UNCHANGED = b"="
"""In place of a row: it stays as it is."""


@dataclass(frozen=True, slots=True)
class SealedSubject:
    """What lies in a shard of one subject, as bytes; empty where there is nothing."""

    record: bytes = b""
    rows: Mapping[int, bytes] | None = None
    """By epoch, of every epoch that the shard keeps. None: it was not looked at, and taken to be nobody."""

    def row(self, epoch: int) -> bytes:
        """The row of an epoch."""
        return (self.rows or {}).get(epoch, b"")


def tag_of(sealed: bytes) -> bytes:
    """What a script compares: the tag of a value, or nothing where there is none."""
    return Sealer.tag(sealed) if sealed else b""


def subject_place(generation: str, subject_id: SubjectId) -> Place:
    """Where a subject's record lies."""
    return Place(generation, subject_id, "subject")


def picture_place(generation: str, subject_id: SubjectId, template_id: TemplateId | str) -> Place:
    """Where a template's picture lies."""
    return Place(generation, subject_id, "picture", 0, template_id)


def look_place(generation: str, tracklet_id: TrackletId | str) -> Place:
    """Where a look at a person lies."""
    return Place(generation, SubjectId(tracklet_id), "look")


class SubjectSeals:
    """Seals and opens what is kept of the subjects of one generation of a collection."""

    def __init__(self, sealer: Sealer, generation: str) -> None:
        self._sealer = sealer
        self._generation = generation

    def record(self, subject_id: SubjectId, sealed: bytes) -> SubjectRecord:
        """A subject's record.

        Raises:
            StoreCorruptError: it does not open, or is none.
            KeyMissingError: its key is not in the ring.
        """
        place = subject_place(self._generation, subject_id)
        record = codec.load(SubjectRecord, self._sealer.open(place, sealed), str(place))
        if record.subject_id != subject_id:
            raise StoreCorruptError(str(place), f"it is the record of {record.subject_id}")
        return record

    def row(self, subject_id: SubjectId, epoch: int, sealed: bytes) -> SearchRow:
        """A subject's row of an epoch.

        Raises:
            StoreCorruptError: it does not open, or is none.
            KeyMissingError: its key is not in the ring.
        """
        return unpack_row(self._sealer.open(self._row_place(subject_id, epoch), sealed), subject_id)

    def state(self, subject_id: SubjectId, sealed: SealedSubject) -> SubjectState | None:
        """A subject with its rows; None: there is nobody.

        Raises:
            StoreCorruptError: a value does not open.
            KeyMissingError: its key is not in the ring.
        """
        if not sealed.record:
            return None
        rows = {epoch: self.row(subject_id, epoch, raw) for epoch, raw in (sealed.rows or {}).items() if raw}
        return SubjectState(self.record(subject_id, sealed.record), rows)

    def data_key(self, subject_id: SubjectId, sealed: bytes) -> bytes:
        """The data key of a subject's record; a new one where there is none."""
        if not sealed:
            return urandom(DATA_KEY_BYTES)
        return self._sealer.data_key(subject_place(self._generation, subject_id), sealed)

    def seal_record(self, record: SubjectRecord, data_key: bytes) -> bytes:
        """A subject's record as bytes."""
        return self._writing(record.subject_id, data_key).record(record)

    def seal_row(self, row: SearchRow, epoch: int, data_key: bytes) -> bytes:
        """A subject's row as bytes."""
        return self._writing(row.subject_id, data_key).row(row, epoch)

    def writing(self, subject_id: SubjectId, sealed: bytes) -> SubjectWriting:
        """What seals a change of a subject, under the data key of its record as it lies there."""
        return self._writing(subject_id, self.data_key(subject_id, sealed))

    def _writing(self, subject_id: SubjectId, data_key: bytes) -> SubjectWriting:
        return SubjectWriting(self._sealer.subject(self._generation, subject_id, data_key))

    def picture(self, subject_id: SubjectId, template_id: TemplateId, sealed: bytes) -> bytes:
        """A picture.

        Raises:
            StoreCorruptError: it does not open.
            KeyMissingError: its key is not in the ring.
        """
        return self._sealer.open(picture_place(self._generation, subject_id, template_id), sealed)

    def answer(self, subject_id: SubjectId, request_id: str, sealed: bytes, subject: bytes) -> str:
        """What a request was told.

        Args:
            subject_id: whose enrolment it was.
            request_id: of the request.
            sealed: what `SubjectWriting.answer` made.
            subject: the subject's record as it lies there now, sealed.

        Raises:
            StoreCorruptError: it was sealed for another life of this subject, or is none.
        """
        place = Place(self._generation, subject_id, "answer", 0, request_id)
        wrap = self._sealer.seal(place, b"", self.data_key(subject_id, subject))[:WRAP_BYTES]
        return self._sealer.open(place, wrap + sealed).decode()

    def _row_place(self, subject_id: SubjectId, epoch: int) -> Place:
        return Place(self._generation, subject_id, "row", epoch)


class SubjectWriting:
    """Seals what a write leaves of one subject: one data key, one cipher for all of its values."""

    def __init__(self, sealer: SubjectSealer) -> None:
        self._sealer = sealer

    def record(self, record: SubjectRecord) -> bytes:
        """The subject's record as bytes."""
        return self._sealer.seal("subject", codec.dump(record).encode())

    def row(self, row: SearchRow, epoch: int) -> bytes:
        """Its row of an epoch as bytes."""
        return self._sealer.seal("row", pack_row(row), epoch)

    def rows(self, before: SubjectState | None, after: SubjectState, epochs: Sequence[int]) -> list[bytes]:
        """For each epoch the row to be written: empty for none, `UNCHANGED` where it stays."""
        held = before.rows if before else {}
        return [
            b""
            if epoch not in after.rows
            else UNCHANGED
            if after.rows[epoch] is held.get(epoch)
            else self.row(after.rows[epoch], epoch)
            for epoch in epochs
        ]

    def picture(self, template_id: TemplateId, picture: bytes) -> bytes:
        """A picture as bytes."""
        return self._sealer.seal("picture", picture, name=template_id)

    def answer(self, request_id: str, note: str) -> bytes:
        """What a request is told again, readable as long as the subject is there."""
        return self._sealer.seal_body("answer", note.encode(), request_id)
