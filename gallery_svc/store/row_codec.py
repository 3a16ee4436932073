"""Search rows as bytes and back: what a load reads of each subject, in the clear inside of a sealed value.

    version 0x01 | flags u8 | templates n u16 | dimensions d u16 | conditions c u16      little-endian throughout
    n x d float16                                                                       the vectors
    flag 1: n x 12 bytes; else n x (length u8, UTF-8)                                   the ids
    c bytes: nothing, or valid from i64 | until i64 | nothing or JSON                   whom a search may find
    UTF-8                                                                               the name

Times are microseconds since 1970, -2^63 and 2^63 - 1 where there is no bound; the JSON is [labels, camera ids].
Ids that the gallery makes are `template-` and 24 hexadecimal digits, kept as 12 bytes. Stands between `sealing` and the
indexes. The bytes are authenticated before they come here: this looks at their shape, not at the numbers of a vector.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from gallery_svc.rows import HalfVector, JoinedTexts, Lengths, RowBatch, SearchProfile, SearchRow, TemplateRow
from gallery_svc.store.row_cutting import (
    COMPACT_BYTES,
    COMPACT_IDS,
    HEADER,
    VERSION,
    MalformedError,
    RowColumns,
    Shape,
    cut_rows,
    pieces,
    shape_of,
)
from tessera.domain.errors import InvalidInputError, StoreCorruptError
from tessera.domain.ids import SubjectId, TemplateId

_COMPACT_PREFIX = "template-"
_COMPACT = re.compile(r"template-[0-9a-f]{24}")
_VALIDITY = struct.Struct("<qq")
_ALWAYS_FROM, _ALWAYS_UNTIL = -(2**63), 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


# ---- to bytes


def pack_row(row: SearchRow) -> bytes:
    """A subject's row as bytes.

    Raises:
        InvalidInputError: its vectors are not float16 of one length, a time has no zone, or a part is too long.
    """
    templates = row.templates
    if len(templates) > 0xFFFF:
        raise InvalidInputError("templates", len(templates), "at most 65,535")
    dims = _dims(templates)
    ids = [template.template_id for template in templates]
    compact = all(map(_COMPACT.fullmatch, ids))
    conditions = _condition_bytes(row.profile)
    header = HEADER.pack(VERSION, COMPACT_IDS if compact else 0, len(templates), dims, len(conditions))
    vectors = [template.vector.astype("<f2", copy=False).tobytes() for template in templates]
    packed = map(_compact_bytes if compact else _spelt_out_bytes, ids)
    return b"".join((header, *vectors, *packed, conditions, row.profile.display_name.encode()))


def _dims(templates: Sequence[TemplateRow]) -> int:
    if not templates:
        return 0
    shape = templates[0].vector.shape
    alike = all(each.vector.dtype == np.float16 and each.vector.shape == shape for each in templates)
    if not alike or len(shape) != 1 or not 0 < shape[0] <= 0xFFFF:
        found = sorted({(str(each.vector.dtype), each.vector.shape) for each in templates})
        raise InvalidInputError("templates", found, "float16 of one shape (d,), d at most 65,535")
    return int(shape[0])


def _compact_bytes(template_id: str) -> bytes:
    return bytes.fromhex(template_id[len(_COMPACT_PREFIX) :])


def _spelt_out_bytes(template_id: str) -> bytes:
    raw = template_id.encode()
    if not 0 < len(raw) <= 0xFF:
        raise InvalidInputError("template_id", template_id, "1 to 255 bytes")
    return bytes((len(raw),)) + raw


def _condition_bytes(profile: SearchProfile) -> bytes:
    if not (profile.labels or profile.camera_ids or profile.valid_from or profile.valid_until):
        return b""
    validity = _VALIDITY.pack(
        _microseconds("valid_from", profile.valid_from, _ALWAYS_FROM),
        _microseconds("valid_until", profile.valid_until, _ALWAYS_UNTIL),
    )
    if not profile.labels and not profile.camera_ids:
        return validity
    names = [profile.labels, profile.camera_ids]
    conditions = validity + json.dumps(names, ensure_ascii=False, separators=(",", ":")).encode()
    if len(conditions) > 0xFFFF:
        raise InvalidInputError("labels, camera_ids", f"{len(conditions)} bytes", "at most 65,535 bytes in all")
    return conditions


def _microseconds(name: str, at: datetime | None, unbounded: int) -> int:
    if at is None:
        return unbounded
    if at.tzinfo is None:
        raise InvalidInputError(name, at, "a time with its zone")
    return (at - _EPOCH) // _MICROSECOND


# ---- from bytes, one


def unpack_row(plain: bytes, subject_id: SubjectId) -> SearchRow:
    """A subject's row from `pack_row`; its vectors are views of `plain`, not to be written.

    Raises:
        StoreCorruptError: the bytes are no such row.
    """
    try:
        shape = shape_of(plain)
        ids, conditions_at = _ids(plain, shape)
        vectors = np.frombuffer(plain, "<f2", shape.templates * shape.dims, HEADER.size)
        rows = vectors.reshape(shape.templates, shape.dims).astype(np.float16, copy=False)
        templates = tuple(TemplateRow(TemplateId(name), vector) for name, vector in zip(ids, rows, strict=True))
        name_at = conditions_at + shape.condition_bytes
        conditions = _conditions(plain[conditions_at:name_at])
        return SearchRow(subject_id, SearchProfile(_text(plain[name_at:], "the name"), *conditions), templates)
    except MalformedError as error:
        raise StoreCorruptError(f"row of {subject_id}", str(error)) from None


def _ids(plain: bytes, shape: Shape) -> tuple[list[str], int]:
    """The ids of a row's templates, and where its conditions begin."""
    names, at = _compact_ids(plain, shape) if shape.conditions_at else _spelt_out_ids(plain, shape)
    if at + shape.condition_bytes > len(plain):
        raise MalformedError(f"{len(plain)} bytes; its name begins at {at + shape.condition_bytes}")
    return names, at


def _compact_ids(plain: bytes, shape: Shape) -> tuple[list[str], int]:
    compact = plain[shape.ids_at : shape.conditions_at]
    if len(compact) % COMPACT_BYTES:
        raise MalformedError(f"{len(plain)} bytes; its ids end at {shape.conditions_at}")
    return _spelt(compact), shape.conditions_at


def _spelt(compact: bytes) -> list[str]:
    """Ids that are kept as 12 bytes, for as many as there are: no step in Python for each."""
    if not compact:
        return []
    digits = compact.hex("\n", -COMPACT_BYTES)
    return (_COMPACT_PREFIX + digits.replace("\n", "\n" + _COMPACT_PREFIX)).split("\n")


def _spelt_out_ids(plain: bytes, shape: Shape) -> tuple[list[str], int]:
    names: list[str] = []
    at = shape.ids_at
    for _ in range(shape.templates):
        length = plain[at] if at < len(plain) else 0
        at += 1 + length
        if not length or at > len(plain):
            raise MalformedError(f"the id of template {len(names)} is cut")
        names.append(_text(plain[at - length : at], f"the id of template {len(names)}"))
    return names, at


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise MalformedError(f"{what} is not UTF-8") from None


_Conditions = tuple[tuple[str, ...], tuple[str, ...], datetime | None, datetime | None]


def _conditions(raw: bytes) -> _Conditions:
    if not raw:
        return (), (), None, None
    if len(raw) < _VALIDITY.size:
        raise MalformedError(f"conditions of {len(raw)} bytes; they have {_VALIDITY.size} or more")
    valid_from, valid_until = _VALIDITY.unpack_from(raw)
    labels, camera_ids = _names(raw[_VALIDITY.size :])
    return labels, camera_ids, _time(valid_from, _ALWAYS_FROM), _time(valid_until, _ALWAYS_UNTIL)


def _names(raw: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        labels, camera_ids = json.loads(raw) if raw else ((), ())
        if not all(isinstance(name, str) for names in (labels, camera_ids) for name in names):
            raise MalformedError("a label or a camera is not text")
        return tuple(labels), tuple(camera_ids)
    except (TypeError, ValueError, RecursionError):
        raise MalformedError("labels and cameras are not two lists in JSON") from None


def _time(microseconds: int, unbounded: int) -> datetime | None:
    if microseconds == unbounded:
        return None
    try:
        return _EPOCH + microseconds * _MICROSECOND
    except OverflowError:
        raise MalformedError(f"a time of {microseconds} microseconds since 1970") from None


# ---- from bytes, many


def unpack_rows(subject_ids: Sequence[str], plains: Sequence[bytes]) -> RowBatch:
    """The rows of many subjects; profiles of equal bytes are one object, and `vectors` is not to be written.

    Args:
        subject_ids: whose rows they are, in the same order.
        plains: what `pack_row` made.

    Raises:
        StoreCorruptError: a row is not such bytes, or has vectors of another length than those before it.
    """
    if len(subject_ids) != len(plains):
        raise InvalidInputError("plains", f"{len(plains)} rows", f"one for each of {len(subject_ids)} subjects")
    try:
        lengths = np.fromiter(map(len, plains), np.int64, len(plains))
        return batch_of_columns(subject_ids, cut_rows(b"".join(plains), lengths))
    except MalformedError:
        # Read again one by one: the first that is malformed is told with its subject.
        return _of_rows(unpack_row(plain, SubjectId(name)) for name, plain in zip(subject_ids, plains, strict=True))


def batch_of_columns(subject_ids: Sequence[str], columns: RowColumns) -> RowBatch:
    """Columns that were cut as a batch, in which profiles of equal bytes are one object.

    Args:
        subject_ids: whose rows they are, in the same order.
        columns: of `cut_rows`.

    Raises:
        MalformedError: a text or a time in them is none.
    """
    profiles = [SearchProfile("", *_conditions(raw)) for raw in columns.conditions]
    which = columns.condition_of
    return RowBatch(
        subject_ids,
        list(map(profiles.__getitem__, which)) if which else profiles * len(subject_ids),
        columns.counts.tolist(),
        JoinedTexts(columns.template_ids, np.full(len(columns.vectors), COMPACT_BYTES), _COMPACT_PREFIX),
        columns.vectors.astype(np.float16, copy=False),
        _names_of(columns.names, columns.name_lengths) if columns.names else [],
    )


def _names_of(joined: bytes, lengths: Lengths) -> Sequence[str]:
    if joined.isascii():
        return JoinedTexts(joined, lengths)
    return [_text(raw, "a name") for raw in pieces(joined, lengths)]


def _of_rows(rows: Iterable[SearchRow]) -> RowBatch:
    """A batch from rows that were read one by one: those with ids of other making, five times slower."""
    subject_ids: list[str] = []
    profiles: list[SearchProfile] = []
    counts: list[int] = []
    template_ids: list[str] = []
    vectors: list[HalfVector] = []
    names: list[str] = []
    for row in rows:
        subject_ids.append(row.subject_id)
        profiles.append(replace(row.profile, display_name=""))
        names.append(row.profile.display_name)
        counts.append(len(row.templates))
        template_ids += [template.template_id for template in row.templates]
        vectors += [template.vector for template in row.templates]
        if vectors[-1:] and vectors[-1].size != vectors[0].size:
            why = f"vectors of {vectors[-1].size} numbers; those before it have {vectors[0].size}"
            raise StoreCorruptError(f"row of {row.subject_id}", why)
    batch = RowBatch(subject_ids, profiles, counts, template_ids, names=names)
    if vectors:
        batch.vectors = np.stack(vectors)
    return batch
