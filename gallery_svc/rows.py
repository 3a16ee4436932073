"""What an index needs to know of a subject, and nothing more; the same from the change log and from a bulk load.

Templates are unit vectors rounded to float16 once, when they are enrolled: the store, the index, exports and the oracle
of the tests all have these same numbers, and a score is the product of such a row with the probe's float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt

from tessera.domain.ids import SubjectId, TemplateId

HalfVector = npt.NDArray[np.float16]
"""float16 of shape (d,), of length 1 up to rounding; no subnormal numbers."""

HalfVectors = npt.NDArray[np.float16]
"""float16 of shape (n, d), C-contiguous; rows as `HalfVector`."""

Lengths = npt.NDArray[np.int64]
"""Shape (n,): how many bytes each has, or how many of something."""

ALWAYS_FROM_MS = -(2**63)
ALWAYS_UNTIL_MS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SearchProfile:
    """What decides whether a search may find a subject, and what its answer calls it."""

    display_name: str = ""
    labels: tuple[str, ...] = ()
    """Sorted, without repetition."""
    camera_ids: tuple[str, ...] = ()
    """Only these cameras find the subject; empty: all. Sorted, without repetition."""
    valid_from: datetime | None = None
    """UTC, inclusive; None: always."""
    valid_until: datetime | None = None
    """UTC, exclusive; None: for ever."""

    def is_found_by(self, camera_id: str) -> bool:
        """Whether a camera may find the subject; empty: no camera asks."""
        return not camera_id or not self.camera_ids or camera_id in self.camera_ids

    def is_valid_at(self, moment: datetime) -> bool:
        """Whether the subject may be found at a moment."""
        begun = self.valid_from is None or self.valid_from <= moment
        return begun and (self.valid_until is None or moment < self.valid_until)


@dataclass(frozen=True, slots=True, eq=False)
class TemplateRow:
    """One template as an index holds it."""

    template_id: TemplateId
    vector: HalfVector


@dataclass(frozen=True, slots=True, eq=False)
class SearchRow:
    """A subject with all of its templates, as one state of the store has it."""

    subject_id: SubjectId
    profile: SearchProfile
    templates: tuple[TemplateRow, ...]


class JoinedTexts(Sequence[str]):
    """Texts one behind the other, as a load has them; an index takes them so, and nobody makes an object of each.

    Args:
        raw: ASCII; or, with a prefix, any bytes.
        lengths: bytes of each.
        prefix: each text is this and the hexadecimal digits of its bytes; empty: it is its bytes.
    """

    def __init__(self, raw: bytes, lengths: Lengths, prefix: str = "") -> None:
        self.raw = raw
        self.lengths = lengths
        self.prefix = prefix

    def __len__(self) -> int:
        """How many."""
        return self.lengths.size

    def __iter__(self) -> Iterator[str]:
        """One after the other."""
        return iter(self._texts)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> str | list[str]:
        """One text, or some."""
        if isinstance(at, slice) or "_texts" in self.__dict__:
            return self._texts[at]
        end = int(self._ends[at])
        piece = self.raw[end - int(self.lengths[at]) : end]
        return self.prefix + piece.hex() if self.prefix else str(piece, "ascii")

    def __eq__(self, other: object) -> bool:
        """Whether another sequence has the same texts."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list has none

    @cached_property
    def hashes(self) -> npt.NDArray[np.int64]:
        """`hash` of each text."""
        # Python hashes bytes as it hashes the ASCII text of them: the texts need not be made for it.
        found = self._texts if self.prefix else self._pieces()
        return np.fromiter(map(hash, found), np.int64, self.lengths.size)

    @cached_property
    def _ends(self) -> Lengths:
        return np.cumsum(self.lengths)

    @cached_property
    def _texts(self) -> list[str]:
        if self.prefix:
            return [self.prefix + piece.hex() for piece in self._pieces()]
        return [str(piece, "ascii") for piece in self._pieces()]

    def _pieces(self) -> list[bytes]:
        lengths = self.lengths
        if lengths.size and lengths[0] and (lengths == lengths[0]).all():
            alike: list[bytes] = np.frombuffer(self.raw, f"V{lengths[0]}").tolist()
            return alike
        ends = self._ends
        return list(map(self.raw.__getitem__, map(slice, (ends - lengths).tolist(), ends.tolist())))


@dataclass(slots=True, eq=False)
class RowBatch:
    """Many subjects at once, for a bulk load: columns instead of objects."""

    subject_ids: Sequence[str] = field(default_factory=list)
    profiles: Sequence[SearchProfile] = field(default_factory=list)
    """One for each subject; equal ones are mostly one object. A display name in it is not looked at."""
    counts: Sequence[int] = field(default_factory=list)
    """Templates of each subject; may be 0."""
    template_ids: Sequence[str] = field(default_factory=list)
    """Of all subjects, one after the other."""
    vectors: HalfVectors = field(default_factory=lambda: np.empty((0, 0), np.float16))
    """One row for each template."""
    names: Sequence[str] = field(default_factory=list)
    """The display name of each subject; empty: nobody has one."""

    @property
    def display_names(self) -> Sequence[str]:
        """One for each subject, whether anybody has one or not."""
        return self.names or ("",) * len(self.subject_ids)


def half(vector: npt.ArrayLike) -> HalfVector:
    """A unit vector as it is kept: rounded to float16, with subnormal numbers set to 0.

    Args:
        vector: shape (d,) or (n, d), float32, rows of length 1.
    """
    rounded = np.ascontiguousarray(np.asarray(vector, np.float32).astype(np.float16))
    rounded[np.abs(rounded) < np.finfo(np.float16).smallest_normal] = 0
    return rounded
