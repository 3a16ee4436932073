"""Many rows of `row_codec` cut into columns of bytes, without NumPy, so that a process of a load begins within 50 ms.

Whatever is cut here is checked as far as its places go; texts and times are read by `row_codec`, which also tells what
is wrong with a row that is refused here. Stands between opened values and a `RowBatch`.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import NamedTuple

VERSION = 1
COMPACT_IDS = 1
COMPACT_BYTES = 12
HEADER = struct.Struct("<BBHHH")


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


class RowColumns(NamedTuple):
    """Rows as they are handed from one process to another; numbers in the order of this machine's bytes."""

    dims: bytes
    """u16: numbers of a vector; 0: there is none."""
    counts: bytes
    """u16 for each subject: its templates."""
    vectors: bytes
    """float16, one behind the other."""
    template_ids: bytes
    """12 bytes each."""
    condition_lengths: bytes
    """u32 for each of those that differ."""
    conditions: bytes
    """Those that differ, one behind the other."""
    condition_of: bytes
    """u32 for each subject: which of them it has; empty: all have the first."""
    name_lengths: bytes
    """u32 for each subject: bytes of its name; empty: nobody has one."""
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


class _Parts(NamedTuple):
    """A piece of each row, by columns."""

    vectors: Iterable[bytes]
    template_ids: Iterable[bytes]
    conditions: Sequence[bytes]
    names: Sequence[bytes]


def cut_rows(plains: Sequence[bytes]) -> RowColumns:
    """Rows as columns.

    Args:
        plains: what `row_codec.pack_row` made.

    Raises:
        MalformedError: one of them is no such row, has vectors of another length than the rest, or has ids that are
            spelt out; all is well with the last, and only `row_codec` reads it.
    """
    shapes = {header: shape_of(header) for header in {plain[: HEADER.size] for plain in plains}}
    dims = {shape.dims for shape in shapes.values()} - {0}
    if len(dims) > 1 or not all(shape.conditions_at for shape in shapes.values()):
        raise MalformedError("not to be cut as a batch")
    if len(shapes) == 1:  # nearly always
        (shape,) = shapes.values()
        counts, parts = array("H", (shape.templates,)) * len(plains), _cut_alike(plains, shape)
    else:
        each = [shapes[plain[: HEADER.size]] for plain in plains]
        counts, parts = array("H", [shape.templates for shape in each]), _cut_one_by_one(plains, each)
    distinct = {raw: number for number, raw in enumerate(dict.fromkeys(parts.conditions))}
    names = b"".join(parts.names)
    return RowColumns(
        array("H", dims or (0,)).tobytes(),
        counts.tobytes(),
        b"".join(parts.vectors),
        b"".join(parts.template_ids),
        array("I", map(len, distinct)).tobytes(),
        b"".join(distinct),
        array("I", map(distinct.__getitem__, parts.conditions)).tobytes() if len(distinct) > 1 else b"",
        array("I", map(len, parts.names)).tobytes() if names else b"",
        names,
    )


def pieces(joined: bytes, lengths: Sequence[int]) -> list[bytes]:
    """What was joined, taken apart again."""
    return list(map(joined.__getitem__, spans(lengths)))


def spans(lengths: Sequence[int]) -> Iterator[slice]:
    """Where things of some lengths lie that were joined."""
    return map(slice, accumulate(lengths, initial=0), accumulate(lengths))


def _cut_alike(plains: Sequence[bytes], shape: Shape) -> _Parts:
    # A list of slices for each column: a tuple for each row is something that the garbage collector looks at.
    first, ids_at, conditions_at = HEADER.size, shape.ids_at, shape.conditions_at
    name_at = conditions_at + shape.condition_bytes
    if min(map(len, plains)) < name_at:
        raise MalformedError("a row is cut")
    return _Parts(
        [plain[first:ids_at] for plain in plains],
        [plain[ids_at:conditions_at] for plain in plains],
        [plain[conditions_at:name_at] for plain in plains] if shape.condition_bytes else [b""] * len(plains),
        [plain[name_at:] for plain in plains],
    )


def _cut_one_by_one(plains: Sequence[bytes], shapes: Sequence[Shape]) -> _Parts:
    parts = [_cut_alike((plain,), shape) for plain, shape in zip(plains, shapes, strict=True)]
    columns = [list(chain.from_iterable(column)) for column in zip(*parts, strict=True)] if parts else [[], [], [], []]
    return _Parts(*columns)
