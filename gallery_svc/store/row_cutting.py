"""Many rows of `row_codec` cut into columns of bytes, without NumPy, so that a process of a load begins within 50 ms.

Whatever is cut here is checked as far as its places go; texts and times are read by `row_codec`, which also tells what
is wrong with a row that is refused here. Stands between opened values and a `RowBatch`.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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


class _Layout(NamedTuple):
    cut: Callable[[bytes], tuple[Any, ...]]
    """A row to its vectors, ids and conditions; struct.error when it is too short."""
    name_at: int
    shape: Shape


class _Layouts(dict[bytes, _Layout]):
    """How to cut rows, by their header: a batch has few. Refuses those whose ids are spelt out."""

    def __missing__(self, header: bytes) -> _Layout:
        shape = shape_of(header)
        if not shape.conditions_at:
            raise MalformedError("not to be cut at fixed places")
        lengths = (shape.ids_at - HEADER.size, shape.conditions_at - shape.ids_at, shape.condition_bytes)
        cut = struct.Struct("{}x{}s{}s{}s".format(HEADER.size, *lengths)).unpack_from
        self[header] = _Layout(cut, shape.conditions_at + shape.condition_bytes, shape)
        return self[header]


def cut_rows(plains: Sequence[bytes]) -> RowColumns:
    """Rows as columns.

    Args:
        plains: what `row_codec.pack_row` made.

    Raises:
        MalformedError: one of them is no such row, has vectors of another length than the rest, or has ids that are
            spelt out; all is well with the last, and only `row_codec` reads it.
    """
    # One list a column and one cut a row: a loop that takes each row apart by hand needs twice as long.
    layouts, header_bytes = _Layouts(), HEADER.size
    row_layouts = [layouts[plain[:header_bytes]] for plain in plains]
    dims = {layout.shape.dims for layout in layouts.values()} - {0}
    if len(dims) > 1:
        raise MalformedError("rows of one batch differ")
    try:
        if len(layouts) == 1:  # nearly always
            (layout,) = layouts.values()
            cuts, name_at = list(map(layout.cut, plains)), layout.name_at
            names = [plain[name_at:] for plain in plains]
        else:
            cuts = [layout.cut(plain) for plain, layout in zip(plains, row_layouts, strict=True)]
            names = [plain[layout.name_at :] for plain, layout in zip(plains, row_layouts, strict=True)]
    except struct.error:
        raise MalformedError("a row is cut") from None
    vectors, template_ids, conditions = zip(*cuts, strict=True) if cuts else ((), (), ())
    distinct = {raw: number for number, raw in enumerate(dict.fromkeys(conditions))}
    joined_names = b"".join(names)
    return RowColumns(
        array("H", dims or (0,)).tobytes(),
        array("H", [layout.shape.templates for layout in row_layouts]).tobytes(),
        b"".join(vectors),
        b"".join(template_ids),
        array("I", map(len, distinct)).tobytes(),
        b"".join(distinct),
        array("I", map(distinct.__getitem__, conditions)).tobytes() if len(distinct) > 1 else b"",
        array("I", map(len, names)).tobytes() if joined_names else b"",
        joined_names,
    )
