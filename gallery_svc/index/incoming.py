"""Subjects on their way into the index: as columns of bytes, and refused if no search could use them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gallery_svc.index.directory import hashes_of
from gallery_svc.index.filters import microseconds
from gallery_svc.index.segments import FROM_EVER, NO_GROUP, UNTIL_EVER, Group, Moments, NewRows, Segment
from gallery_svc.index.texts import NAMES, SUBJECT_IDS, TEMPLATE_IDS, Packed, Places
from gallery_svc.index.widening import lengths
from gallery_svc.rows import RowBatch, SearchProfile, SearchRow
from tessera.domain.errors import InvalidInputError


def validity(profile: SearchProfile) -> tuple[int, int]:
    """From (inclusive) and until (exclusive), in microseconds since 1970."""
    return (
        FROM_EVER if profile.valid_from is None else microseconds(profile.valid_from),
        UNTIL_EVER if profile.valid_until is None else microseconds(profile.valid_until),
    )


def group(profile: SearchProfile) -> Group:
    """What many subjects have in common."""
    return profile.labels, profile.camera_ids


def is_same(segment: Segment, first_row: int, row: SearchRow) -> bool:
    """Whether the subject that begins at a row of a segment is just what it is said to be now."""
    run, columns = segment.run(first_row), segment.columns
    group_of = NO_GROUP if columns.group_of is None else list(columns.groups)[columns.group_of[first_row]]
    valid = (FROM_EVER, UNTIL_EVER) if columns.valid is None else tuple(columns.valid[first_row].tolist())
    if (segment.name(first_row), group_of, valid) != (
        row.profile.display_name,
        group(row.profile),
        validity(row.profile),
    ):
        return False
    here = {segment.template_id(at): segment.halves[at].tobytes() for at in run}
    return here == {template.template_id: template.vector.tobytes() for template in row.templates}


def batch_of(rows: Sequence[SearchRow]) -> RowBatch:
    """The same subjects as columns."""
    templates = [template for row in rows for template in row.templates]
    return RowBatch(
        [row.subject_id for row in rows],
        [row.profile for row in rows],
        [len(row.templates) for row in rows],
        [template.template_id for template in templates],
        np.array([template.vector for template in templates], np.float16),
        [row.profile.display_name for row in rows],
    )


def new_rows(batch: RowBatch) -> NewRows:
    """A batch as it will lie in a segment; subjects without templates are left out.

    Raises:
        InvalidInputError: the columns do not fit each other, or a vector is not finite or far from length 1.
    """
    counts = np.array(batch.counts, np.int64)
    if not len(batch.subject_ids) == len(batch.profiles) == counts.size:
        raise InvalidInputError("batch", (len(batch.subject_ids), len(batch.profiles), counts.size), "columns alike")
    if not counts.sum() == len(batch.template_ids) == len(batch.vectors):
        raise InvalidInputError("batch", (len(batch.template_ids), len(batch.vectors)), f"{counts.sum()} templates")
    if len(batch.names) not in (0, counts.size):
        raise InvalidInputError("batch", f"{len(batch.names)} names", f"none, or {counts.size}")
    subject_ids, profiles, names = batch.subject_ids, batch.profiles, batch.names
    if not counts.all():
        kept = np.flatnonzero(counts).tolist()
        subject_ids, profiles = [subject_ids[at] for at in kept], [profiles[at] for at in kept]
        names = [names[at] for at in kept] if names else names
        counts = counts[counts > 0]
    groups, group_of, valid = _conditions(profiles)
    return NewRows(
        np.ascontiguousarray(batch.vectors, np.float16),
        _deviation(batch),
        counts,
        SUBJECT_IDS.pack_all(subject_ids),
        hashes_of(subject_ids),
        TEMPLATE_IDS.pack_all(batch.template_ids),
        _packed_names(names),
        groups,
        group_of,
        valid,
    )


def _packed_names(names: Sequence[str]) -> Packed | None:
    joined = NAMES.pack_all(names) if names else None
    return joined if joined is not None and joined.raw.size else None


def _deviation(batch: RowBatch) -> float:
    if not len(batch.vectors):
        return 0.0
    # One more millionth for the float32 sums of the lengths themselves.
    deviation = float(np.abs(lengths(np.ascontiguousarray(batch.vectors)) - 1).max()) + 1e-6
    if not deviation < 0.5:
        raise InvalidInputError("vectors", f"a length that is {deviation:.3g} from 1", "unit vectors")
    return deviation


def _conditions(profiles: Sequence[SearchProfile]) -> tuple[tuple[Group, ...], Places | None, Moments | None]:
    # A bulk load comes here with every subject, and with few profiles, often one: each of those is looked at once.
    alike = bool(profiles) and profiles.count(profiles[0]) == len(profiles)
    if alike and group(profiles[0]) == NO_GROUP and validity(profiles[0]) == (FROM_EVER, UNTIL_EVER):
        return (), None, None
    distinct = dict(zip(map(id, profiles), profiles, strict=True))
    groups, moments = [group(each) for each in distinct.values()], [validity(each) for each in distinct.values()]
    has_groups, has_moments = set(groups) - {NO_GROUP}, set(moments) - {(FROM_EVER, UNTIL_EVER)}
    if not has_groups and not has_moments:
        return (), None, None
    places = {key: place for place, key in enumerate(distinct)}
    which = np.fromiter(map(places.__getitem__, map(id, profiles)), np.int64, len(profiles))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    group_of = np.array([numbers[group] for group in groups], np.int64)[which] if has_groups else None
    return tuple(numbers), group_of, np.array(moments, np.int64)[which] if has_moments else None
