"""Who may be found: labels, camera and validity as one bit for each row of a segment, kept for the next search."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import numpy.typing as npt

from gallery_svc.index.protocol import EVERYBODY, Wanted

if TYPE_CHECKING:
    from gallery_svc.index.segments import Segment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_KEPT = 16
"""Masks a segment keeps: one is 1/256 of its vectors with its bits, and 1/32 with its flags."""
Flags = npt.NDArray[np.bool_]


def microseconds(moment: datetime) -> int:
    """Since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


class Mask:
    """Which rows of a segment may be found.

    Args:
        flags: shape (rows,).
    """

    def __init__(self, flags: Flags) -> None:
        self.flags = flags
        self.count = int(np.count_nonzero(flags))
        self._bits = np.packbits(flags, bitorder="little")
        library: Any = faiss  # its stubs tell of the C++ signatures, which Python code wraps
        self.selection = library.SearchParameters(sel=library.IDSelectorBitmap(self._bits))
        """Reads `_bits`, which must live as long."""


@dataclass(frozen=True, slots=True)
class _Kept:
    since: int
    until: int
    mask: Mask | None


class MaskCache:
    """The masks of one segment that were asked for last."""

    def __init__(self) -> None:
        self._kept: dict[tuple[frozenset[str], str, bool], _Kept] = {}

    def mask_of(self, segment: Segment, wanted: Wanted) -> Mask | None:
        """Which rows of the segment may be found.

        Args:
            segment: whose cache this is.
            wanted: by whom.

        Returns:
            None when it is all of them.
        """
        if wanted == EVERYBODY and segment.dead is None:
            return None
        asks_validity = wanted.at is not None and segment.columns.valid is not None
        at = microseconds(wanted.at) if wanted.at is not None and asks_validity else 0
        key = (wanted.labels, wanted.camera_id, asks_validity)
        kept = self._kept.get(key)
        if kept is None or not kept.since <= at < kept.until:
            kept = _made(segment, wanted, at if asks_validity else None)
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = kept
        return kept.mask


def _made(segment: Segment, wanted: Wanted, at: int | None) -> _Kept:
    flags = np.ones(segment.rows, np.bool_) if segment.dead is None else ~segment.dead
    flags &= _in_groups(segment, wanted)
    since, until = -(2**63), 2**63 - 1
    if at is not None and segment.columns.valid is not None:
        valid = segment.columns.valid[: segment.rows]
        flags &= (valid[:, 0] <= at) & (at < valid[:, 1])
        # The same rows stay valid until the next moment at which somebody's validity begins or ends.
        since = int(valid.max(where=valid <= at, initial=since))
        until = int(valid.min(where=valid > at, initial=until))
    return _Kept(since, until, None if flags.all() else Mask(flags))


def _in_groups(segment: Segment, wanted: Wanted) -> Flags | bool:
    if segment.columns.group_of is None:
        return not wanted.labels
    in_group = np.array(
        [
            wanted.labels.issubset(labels) and not (wanted.camera_id and cameras and wanted.camera_id not in cameras)
            for labels, cameras in list(segment.columns.groups)
        ],
        np.bool_,
    )
    flags: Flags = in_group[segment.columns.group_of[: segment.rows]]
    return flags


def finds(segment: Segment, first_row: int, wanted: Wanted) -> bool:
    """Whether the subject that begins at this row may be found."""
    columns = segment.columns
    if columns.group_of is not None:
        labels, cameras = list(columns.groups)[columns.group_of[first_row]]
    else:
        labels, cameras = (), ()
    if not wanted.labels.issubset(labels) or (wanted.camera_id and cameras and wanted.camera_id not in cameras):
        return False
    if wanted.at is None or columns.valid is None:
        return True
    since, until = columns.valid[first_row].tolist()
    return bool(since <= microseconds(wanted.at) < until)
