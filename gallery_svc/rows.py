"""What an index needs to know of a subject, and nothing more; the same from the change log and from a bulk load.

Templates are unit vectors rounded to float16 once, when they are enrolled: the store, the index, exports and the oracle
of the tests all have these same numbers, and a score is the product of such a row with the probe's float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from tessera.domain.ids import SubjectId, TemplateId

HalfVector = npt.NDArray[np.float16]
"""float16 of shape (d,), of length 1 up to rounding; no subnormal numbers."""

HalfVectors = npt.NDArray[np.float16]
"""float16 of shape (n, d), C-contiguous; rows as `HalfVector`."""

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


@dataclass(slots=True, eq=False)
class RowBatch:
    """Many subjects at once, for a bulk load: columns instead of objects."""

    subject_ids: list[str] = field(default_factory=list)
    profiles: list[SearchProfile] = field(default_factory=list)
    """One for each subject; equal ones are mostly one object. A display name in it is not looked at."""
    counts: list[int] = field(default_factory=list)
    """Templates of each subject; may be 0."""
    template_ids: list[str] = field(default_factory=list)
    """Of all subjects, one after the other."""
    vectors: HalfVectors = field(default_factory=lambda: np.empty((0, 0), np.float16))
    """One row for each template."""
    names: list[str] = field(default_factory=list)
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
