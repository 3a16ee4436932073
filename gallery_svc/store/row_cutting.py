"""Many rows of `row_codec`, one behind the other, cut into columns: no step in Python for each of them.

Whatever is cut here is checked as far as its places go; texts and times are read by `row_codec`, which also tells what
is wrong with a row that is refused here. Stands between opened values and a `RowBatch`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gallery_svc.rows import HalfVectors, Lengths

VERSION = 1
COMPACT_IDS = 1
COMPACT_BYTES = 12
HEADER = struct.Struct("<BBHHH")
_HEADER_TYPE = np.dtype([("version", "u1"), ("flags", "u1"), ("templates", "<u2"), ("dims", "<u2"), ("rest", "<u2")])


class MalformedError(Exception):
    """The bytes have another shape; told as StoreCorruptError as soon as their subject is known."""


class Shape(NamedTuple):
    """What the header of a row says of the rest."""

    templates: int
    dims: int
    condition_bytes: int
    ids_at: int
    conditions_at: int
    """0 when it depends on the ids."""


@dataclass(frozen=True, slots=True, eq=False)
class RowColumns:
    """Rows by columns."""

    counts: Lengths
    """Templates of each subject."""
    vectors: HalfVectors
    """One row for each template."""
    template_ids: bytes
    """12 bytes each."""
    conditions: list[bytes]
    """Those that differ."""
    condition_of: list[int]
    """Which of them each subject has; empty: all have the first."""
    name_lengths: Lengths
    """Bytes of each subject's name."""
    names: bytes
    """One behind the other."""


def shape_of(plain: bytes) -> Shape:
    """What a row's header says.

    Raises:
        MalformedError: it is none.
    """
    if len(plain) < HEADER.size:
        raise MalformedError(f"{len(plain)} bytes; a row has {HEADER.size} or more")
    version, flags, templates, dims, conditions = HEADER.unpack_from(plain)
    if version != VERSION or flags > COMPACT_IDS:
        raise MalformedError(f"version {version}, flags {flags}; allowed: version {VERSION}, flags 0 or {COMPACT_IDS}")
    if (templates == 0) != (dims == 0):
        raise MalformedError(f"{templates} templates of {dims} numbers")
    ids_at = HEADER.size + 2 * templates * dims
    return Shape(templates, dims, conditions, ids_at, ids_at + COMPACT_BYTES * templates if flags else 0)


def cut_rows(plains: bytes | bytearray | memoryview, lengths: Lengths) -> RowColumns:
    """Rows as columns.

    Args:
        plains: what `row_codec.pack_row` made, one behind the other.
        lengths: bytes of each.

    Raises:
        MalformedError: one of them is no such row, has vectors of another length than the rest, or has ids that are
            spelt out; all is well with the last, and only `row_codec` reads it.
    """
    if lengths.size and int(lengths.min()) < HEADER.size:
        raise MalformedError("a row is cut")
    starts = np.cumsum(lengths) - lengths
    heads = _at(plains, starts, HEADER.size).view(_HEADER_TYPE)
    templates, each = heads["templates"].astype(np.int64), heads["dims"].astype(np.int64)
    dims = int(each.max(initial=0))
    if not (
        (heads["version"] == VERSION).all()
        and (heads["flags"] == COMPACT_IDS).all()
        and (each == np.where(templates > 0, dims, 0)).all()
    ):
        raise MalformedError("not to be cut as a batch")
    ids_at = HEADER.size + 2 * dims * templates
    conditions_at = ids_at + COMPACT_BYTES * templates
    name_at = conditions_at + heads["rest"]
    if (name_at > lengths).any():
        raise MalformedError("a row is cut")
    conditions, condition_of = _distinct(plains, starts + conditions_at, heads["rest"])
    return RowColumns(
        templates,
        _at(plains, _steps(starts + HEADER.size, templates, 2 * dims), 2 * dims).view("<f2").reshape(-1, dims)
        if dims
        else np.empty((0, 0), np.float16),
        _at(plains, _steps(starts + ids_at, templates, COMPACT_BYTES), COMPACT_BYTES).tobytes(),
        conditions,
        condition_of,
        lengths - name_at,
        _ragged(plains, starts + name_at, lengths - name_at),
    )


def pieces(joined: bytes | bytearray | memoryview, lengths: Lengths) -> list[bytes]:
    """What was joined, taken apart again."""
    whole, ends = bytes(joined), np.cumsum(lengths)
    return list(map(whole.__getitem__, map(slice, (ends - lengths).tolist(), ends.tolist())))


def _at(plains: bytes | bytearray | memoryview, places: Lengths, size: int) -> npt.NDArray[Any]:
    """As many bytes from each of some places, copied."""
    if not places.size:
        return np.empty(0, f"V{size}")
    # Every place where so many bytes can begin: they overlap, and only those that are picked are touched.
    windows = np.ndarray((max(1, len(plains) - size + 1),), f"V{size}", plains, strides=(1,))
    copied: npt.NDArray[Any] = windows[places]
    return copied


def _steps(starts: Lengths, counts: Lengths, step: int) -> Lengths:
    """Where things of one size begin, of which some lie behind each other from each start."""
    if (counts == 1).all():
        return starts
    number = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(starts, counts) + step * number


def _distinct(
    plains: bytes | bytearray | memoryview, starts: Lengths, lengths: Lengths
) -> tuple[list[bytes], list[int]]:
    """The conditions that differ, and which of them each row has."""
    if not lengths.any():
        return [b""] if lengths.size else [], []
    whole = memoryview(plains)
    each = [
        bytes(whole[start : start + length]) for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
    ]
    numbers = {raw: number for number, raw in enumerate(dict.fromkeys(each))}
    return list(numbers), list(map(numbers.__getitem__, each)) if len(numbers) > 1 else []


def _ragged(plains: bytes | bytearray | memoryview, starts: Lengths, lengths: Lengths) -> bytes:
    """Bytes from some places, as many as each has."""
    if not (total := int(lengths.sum())):
        return b""
    # Byte i of the answer comes from its text's start plus what it is behind the text's first byte.
    offsets = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(total)
    return np.frombuffer(plains, np.uint8)[offsets].tobytes()
