"""Ids and names as columns of bytes: an id that this gallery made takes 12 bytes, another its own length, both 2 more.

Nothing here knows what a text means. What was written is never changed; a column that loses texts is written anew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gallery_svc.index.blocks import block
from gallery_svc.rows import JoinedTexts
from tessera.domain.errors import InvalidInputError

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

_DIGITS = 24
_PACKED_BYTES = 12
_LITERAL = b"\xff"
"""Stands before a text of 12 bytes, which would otherwise be taken for a packed one. UTF-8 never begins with it."""
_HEX = np.full(256, 255, np.uint8)
_HEX[[ord(digit) for digit in "0123456789abcdef"]] = np.arange(16)
_FIRST_BYTES = 16 * 1024
_MANY = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Texts as they lie in a column, one behind the other."""

    raw: Bytes
    lengths: Places

    def part(self, first: int, end: int) -> Packed:
        """Some of them in a row."""
        start = int(self.lengths[:first].sum())
        return Packed(self.raw[start : start + int(self.lengths[first:end].sum())], self.lengths[first:end])


@dataclass(frozen=True, slots=True)
class Spelling:
    """How the texts of one column become bytes and come back.

    Args:
        prefix: of the ids that this gallery makes, which go on with 24 hexadecimal digits; empty: nothing is packed.
    """

    prefix: str = ""

    def pack(self, text: str) -> bytes:
        """One text as bytes; `unpack` gives it back exactly."""
        if self.prefix and text.startswith(self.prefix) and re.fullmatch(rf"{self.prefix}[0-9a-f]{{{_DIGITS}}}", text):
            return bytes.fromhex(text[len(self.prefix) :])
        plain = text.encode()
        return _LITERAL + plain if self.prefix and len(plain) == _PACKED_BYTES else plain

    def unpack(self, packed: memoryview | bytes) -> str:
        """The text that was packed."""
        if self.prefix:
            if len(packed) == _PACKED_BYTES:
                return self.prefix + packed.hex()
            if packed[:1] == _LITERAL:
                packed = packed[1:]
        return str(packed, "utf-8")

    def unpack_all(self, texts: Texts, at: Places) -> list[str]:
        """Some texts of a column."""
        starts, ends = texts.spans(at)
        lengths = ends - starts
        source: bytes | memoryview = texts.bytes_
        if at.size > _MANY:
            # Slices of bytes are no business of the garbage collector, those of a view are.
            begin = int(starts.min())
            source, starts, ends = bytes(source[begin : int(ends.max())]), starts - begin, ends - begin
        is_packed = (lengths == _PACKED_BYTES) & bool(self.prefix)
        if self.prefix:
            literal = np.flatnonzero(lengths == _PACKED_BYTES + 1)
            starts[literal] += texts.arena[texts.spans(at[literal])[0]] == _LITERAL[0]
        pieces = [source[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        if not is_packed.any():
            return [str(piece, "utf-8") for piece in pieces]
        prefix = self.prefix
        if is_packed.all():
            return [prefix + piece.hex() for piece in pieces]
        pairs = zip(pieces, is_packed.tolist(), strict=True)
        return [prefix + piece.hex() if packs else str(piece, "utf-8") for piece, packs in pairs]

    def pack_all(self, texts: Sequence[str]) -> Packed:
        """As `pack` for each, by columns where all are alike."""
        if isinstance(texts, JoinedTexts) and texts.prefix:
            if texts.prefix == self.prefix and (texts.lengths == _PACKED_BYTES).all():
                return Packed(np.frombuffer(texts.raw, np.uint8), texts.lengths)
            texts = list(texts)
        if isinstance(texts, JoinedTexts):
            alike = self._packed_alike(np.frombuffer(texts.raw, np.uint8), texts.lengths)
        else:
            lengths, joined = np.fromiter(map(len, texts), np.int64, len(texts)), "".join(texts)
            alike = self._packed_alike(np.frombuffer(joined.encode(), np.uint8), lengths) if joined.isascii() else None
        return packed([self.pack(text) for text in texts]) if alike is None else alike

    def _packed_alike(self, raw: Bytes, lengths: Places) -> Packed | None:
        """Texts of ASCII, all of them packed or none; None: it is not so."""
        long = len(self.prefix) + _DIGITS
        if not self.prefix:
            return Packed(raw, lengths)
        if (lengths == long).all() and (alike := self._halved(raw.reshape(-1, long))) is not None:
            return Packed(alike.ravel(), np.full(lengths.size, _PACKED_BYTES, np.int64))
        return None if (lengths == long).any() else _marked(raw, lengths)

    def _halved(self, raw: Bytes) -> Bytes | None:
        digits = _HEX[raw[:, len(self.prefix) :]]
        same_prefix = raw[:, : len(self.prefix)] == np.frombuffer(self.prefix.encode(), np.uint8)
        if not same_prefix.all() or (digits == 255).any():
            return None
        halved: Bytes = digits[:, ::2] * np.uint8(16) + digits[:, 1::2]
        return halved


SUBJECT_IDS = Spelling("subject-")
TEMPLATE_IDS = Spelling("template-")
NAMES = Spelling()


def _marked(raw: Bytes, lengths: Places) -> Packed:
    """Texts of which none is packed, with the mark before those that would be taken for one that is."""
    alike = lengths == _PACKED_BYTES
    if not alike.any():
        return Packed(raw, lengths)
    starts = np.cumsum(lengths) - lengths
    return Packed(np.insert(raw, starts[alike], _LITERAL[0]), lengths + alike)


def packed(pieces: Sequence[bytes]) -> Packed:
    """Pieces, joined."""
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    return Packed(np.frombuffer(b"".join(pieces), np.uint8), lengths)


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """What a reader sees of a column."""

    arena: Bytes
    bytes_: memoryview
    bases: memoryview
    starts: memoryview
    shift: int
    arrays: tuple[npt.NDArray[Any], npt.NDArray[Any]]

    def piece(self, at: int) -> memoryview:
        """The bytes of one text."""
        after = at + 1
        start = self.bases[at >> self.shift] + self.starts[at]
        return self.bytes_[start : self.bases[after >> self.shift] + self.starts[after]]

    def spans(self, at: Places) -> tuple[Places, Places]:
        """Where texts begin and end in the arena."""
        bases, starts = self.arrays
        after = at + 1
        return (
            bases[at >> self.shift].astype(np.int64) + starts[at],
            bases[after >> self.shift].astype(np.int64) + starts[after],
        )

    def empty(self, at: Places) -> npt.NDArray[np.bool_]:
        """Which texts have no bytes."""
        starts, ends = self.spans(at)
        none: npt.NDArray[np.bool_] = starts == ends
        return none

    def taken(self, at: Places) -> Packed:
        """Copies of some texts, in the order of `at`."""
        starts, ends = self.spans(at)
        lengths = ends - starts
        # Byte i of the answer comes from its text's start plus what it is behind the text's first byte.
        offsets = np.repeat(starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
        return Packed(self.arena[offsets + np.arange(offsets.size)], lengths)


class TextColumn:
    """Texts one behind the other, found by their number; room for `capacity` of them is promised, not taken.

    Args:
        capacity: so many texts at most.
        long: whether a text may have more than 1023 bytes, at two bytes more for each.
    """

    def __init__(self, capacity: int, *, long: bool = False) -> None:
        self._shift = 0 if long else 6
        self._starts = block(capacity + 1, np.uint16)
        self._bases = block((capacity >> self._shift) + 1, np.uint32)
        self._arena = block(_FIRST_BYTES, np.uint8)
        self._used = 0
        self._count = 0

    @property
    def nbytes(self) -> int:
        """Bytes that were written."""
        return self._used + 2 * self._count + 4 * (self._count >> self._shift)

    def view(self) -> Texts:
        """What is here now; stays as it is when more comes."""
        arrays = (self._bases, self._starts)
        return Texts(
            self._arena,
            self._arena.data,
            self._bases.data,
            self._starts.data,
            self._shift,
            arrays,
        )

    def append(self, texts: Packed) -> None:
        """Write texts behind the last one."""
        if self._shift and (longest := int(texts.lengths.max(initial=0))) >= 1 << 10:
            raise InvalidInputError("id", f"{longest} bytes", "at most 1023 bytes")
        self._make_room(int(texts.lengths.sum()))
        ends = self._used + np.cumsum(texts.lengths)
        self._arena[self._used : self._used + texts.raw.size] = texts.raw
        self._write_starts(self._count + 1, ends)
        self._used += texts.raw.size
        self._count += texts.lengths.size

    @property
    def arena(self) -> Bytes:
        """All of its memory that has something of a text."""
        return self._arena

    def _write_starts(self, first: int, starts: Places) -> None:
        numbers = np.arange(first, first + starts.size)
        opens = (numbers & ((1 << self._shift) - 1)) == 0
        self._bases[numbers[opens] >> self._shift] = starts[opens]
        self._starts[numbers] = starts - self._bases[numbers >> self._shift]

    def _make_room(self, more: int) -> None:
        if self._used + more > self._arena.size:
            # The arena that is left goes back to the system with its last reader: nothing of it stays in this process.
            left, self._arena = self._arena, block(max(2 * self._arena.size, self._used + more), np.uint8)
            self._arena[: self._used] = left[: self._used]

    def without(self, gone: Places) -> TextColumn:
        """A copy in which these texts are zeros of the same length."""
        copy = TextColumn.__new__(TextColumn)
        copy._shift, copy._used, copy._count = self._shift, self._used, self._count
        copy._starts, copy._bases = self._starts, self._bases
        copy._arena = block(self._arena.size, np.uint8)
        copy._arena[: self._used] = self._arena[: self._used]
        starts, ends = self.view().spans(gone)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            copy._arena[start:end] = 0
        return copy
