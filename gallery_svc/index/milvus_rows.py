"""What a Milvus index sends to its engine, and how it judges what comes back; no engine is touched here.

A row is one template. No text that somebody chose ever stands inside of an expression: subjects, labels and cameras are
told to the engine's filters by their digest, in hexadecimal. So nothing has to be escaped, and the engine's own
language cannot be reached through a label. Subject and template ids lie beside it as plain fields, for the answers;
display names are not sent at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt

from gallery_svc.index.protocol import Hit, Wanted
from gallery_svc.index.ranking import exact_scores
from gallery_svc.rows import HalfVector, HalfVectors, SearchProfile, SearchRow
from tessera.domain.embedding import Embedding
from tessera.domain.ids import CollectionId, SubjectId, TemplateId

Scores = npt.NDArray[np.float64]

SLACK = 1e-5
"""The engine's float32 cosine of two vectors of up to 4096 numbers is off its float64 value by less."""

_LAYOUT = "1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALWAYS_FROM, _ALWAYS_UNTIL = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Rows that the engine found for one probe, best first by the engine's scores."""

    subject_ids: list[SubjectId]
    template_ids: list[TemplateId]
    vectors: HalfVectors
    scores: Scores
    """The engine's, in float32."""

    def __len__(self) -> int:
        """How many."""
        return len(self.subject_ids)

    def and_also(self, more: Found) -> Found:
        """These, and then those."""
        if not len(self) or not len(more):
            return self if len(self) else more
        return Found(
            self.subject_ids + more.subject_ids,
            self.template_ids + more.template_ids,
            np.concatenate([self.vectors, more.vectors]),
            np.concatenate([self.scores, more.scores]),
        )


def table_name(collection_id: CollectionId, generation: str, epoch: int) -> str:
    """The engine's name for the index of one epoch of a collection: letters and digits, whatever the ids are."""
    return f"tessera_{digest('table', f'{_LAYOUT}|{generation}|{epoch}|{collection_id}')}"


def digest(kind: Literal["table", "row", "subject", "label", "camera"], text: str) -> str:
    """What stands for `text` in an expression: 32 hexadecimal digits; no two texts share them by accident."""
    return hashlib.blake2b(text.encode(), digest_size=16, person=kind.encode()).hexdigest()


def row_key(subject_id: str, template_id: str) -> str:
    """The primary key of a template. Template ids alone do not do: nothing keeps two subjects from sharing one."""
    return digest("row", f"{len(subject_id)}|{subject_id}|{template_id}")


def rows_of(row: SearchRow) -> list[dict[str, object]]:
    """A subject's templates as the engine's rows."""
    vectors = [(template.template_id, template.vector) for template in row.templates]
    return engine_rows(row.subject_id, row.profile, vectors)


def engine_rows(
    subject_id: str, profile: SearchProfile, templates: Iterable[tuple[str, HalfVector]]
) -> list[dict[str, object]]:
    """One subject's templates as the engine's rows; the first is marked, so that counting those counts subjects."""
    shared = {
        "subject": digest("subject", subject_id),
        "subject_id": subject_id,
        "labels": [digest("label", label) for label in profile.labels],
        "cameras": [digest("camera", camera_id) for camera_id in profile.camera_ids],
        "valid_from": _ALWAYS_FROM if profile.valid_from is None else _microseconds(profile.valid_from),
        "valid_until": _ALWAYS_UNTIL if profile.valid_until is None else _microseconds(profile.valid_until),
    }
    return [
        {
            "row": row_key(subject_id, template_id),
            "template_id": template_id,
            "first": at == 0,
            "vector": vector.astype(np.float32),
            **shared,
        }
        for at, (template_id, vector) in enumerate(templates)
    ]


def wanted_expression(wanted: Wanted) -> str:
    """Which rows a search may find, in the engine's language; empty: all."""
    parts = []
    if wanted.labels:
        labels = sorted(digest("label", label) for label in wanted.labels)
        parts.append(f"array_contains_all(labels, {_listed(labels)})")
    if wanted.camera_id:
        camera = digest("camera", wanted.camera_id)
        parts.append(f'(array_length(cameras) == 0 or array_contains(cameras, "{camera}"))')
    if wanted.at is not None:
        now = _microseconds(wanted.at)
        parts.append(f"valid_from <= {now} and valid_until > {now}")
    return " and ".join(parts)


def of_subjects(subject_ids: Iterable[str]) -> str:
    """The rows of these subjects, in the engine's language."""
    return f"subject in {_listed(digest('subject', subject_id) for subject_id in subject_ids)}"


def not_of_subjects(subject_ids: Iterable[str]) -> str:
    """The rows of all others, in the engine's language."""
    return f"subject not in {_listed(digest('subject', subject_id) for subject_id in subject_ids)}"


def both(*expressions: str) -> str:
    """What meets all of them; an empty one asks for nothing."""
    return " and ".join(f"({expression})" for expression in expressions if expression)


def is_complete(found: Found, asked: int, limit: int) -> bool:
    """Whether no row that is missing can be, or tie with, the best of one of the first `limit` subjects.

    Args:
        found: what an exact scan returned, best first.
        asked: how many rows it was asked for.
        limit: subjects that are wanted.
    """
    if len(found) < asked:
        return True
    floor = _floor(found, limit)
    return floor is not None and floor > float(found.scores[-1]) + 2 * SLACK


def candidates(found: Found, limit: int) -> set[SubjectId]:
    """Who can be among the best `limit` subjects by exact scores."""
    return {found.subject_ids[at] for at in _near(found, limit)}


def ranked(found: Found, probe: Embedding, limit: int, names: Mapping[SubjectId, str]) -> list[Hit]:
    """The best template of each of the best `limit` subjects, by float64; ties by subject id and then template id."""
    if not len(found):
        return []
    near = _near(found, limit)
    best: dict[SubjectId, tuple[float, SubjectId, TemplateId]] = {}
    for at, score in zip(near, exact_scores(found.vectors[near], probe.vector).tolist(), strict=True):
        rank = (-score, found.subject_ids[at], found.template_ids[at])
        if rank[1] not in best or rank < best[rank[1]]:
            best[rank[1]] = rank
    return [Hit(who, template, -minus, names.get(who, "")) for minus, who, template in sorted(best.values())[:limit]]


def _near(found: Found, limit: int) -> list[int]:
    floor = _floor(found, limit)
    return list(range(len(found))) if floor is None else np.flatnonzero(found.scores >= floor - 2 * SLACK).tolist()


def _floor(found: Found, limit: int) -> float | None:
    """The engine's score of the subject at `limit`; None when there are fewer."""
    seen: set[SubjectId] = set()
    for subject_id, score in zip(found.subject_ids, found.scores.tolist(), strict=True):
        seen.add(subject_id)
        if len(seen) == limit:
            return float(score)
    return None


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _listed(digests: Iterable[str] | Sequence[str]) -> str:
    return "[" + ", ".join(f'"{one}"' for one in digests) + "]"
