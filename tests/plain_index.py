"""An index that does what `Index` says and nothing more: one Python loop, float64; what others are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gallery_svc.index.protocol import EVERYBODY, Hit, IndexCoverage, Removal, Update, Wanted
from gallery_svc.rows import HalfVector, RowBatch, SearchProfile, SearchRow, TemplateRow
from tessera.domain.embedding import Embedding
from tessera.domain.errors import ModelMismatchError
from tessera.domain.ids import ModelId, SubjectId, TemplateId


class PlainIndex:
    """Rows in a dictionary."""

    def __init__(self, model_id: ModelId) -> None:
        self.model_id = model_id
        self.rows: dict[SubjectId, SearchRow] = {}

    @property
    def subject_count(self) -> int:
        """Subjects with at least one template."""
        return len(self.rows)

    @property
    def template_count(self) -> int:
        """Templates."""
        return sum(len(row.templates) for row in self.rows.values())

    @property
    def coverage(self) -> IndexCoverage:
        """Everything is compared."""
        return IndexCoverage(exact=True, vectors_in_clear=False, memory_bytes=0)

    def apply(self, updates: Sequence[Update]) -> None:
        """Take updates in their order."""
        rows = dict(self.rows)
        for update in updates:
            if isinstance(update, Removal) or not update.row.templates:
                rows.pop(update.subject_id if isinstance(update, Removal) else update.row.subject_id, None)
            else:
                rows[update.row.subject_id] = update.row
        self.rows = rows

    def expect(self, subjects: int) -> None:
        """Nothing is made ready."""

    def load(self, batch: RowBatch) -> None:
        """Take many subjects."""
        at = 0
        profiles = map(_named, batch.profiles, batch.display_names)
        for name, profile, count in zip(batch.subject_ids, profiles, batch.counts, strict=True):
            templates = tuple(
                TemplateRow(TemplateId(batch.template_ids[row]), batch.vectors[row].copy())
                for row in range(at, at + count)
            )
            at += count
            subject_id = SubjectId(name)
            if subject_id in self.rows:
                raise ValueError(f"{subject_id} is there already")
            if templates:
                self.rows[subject_id] = SearchRow(subject_id, profile, templates)

    def search(self, probe: Embedding, limit: int, wanted: Wanted = EVERYBODY) -> list[Hit]:
        """The subjects most like the probe."""
        self._require_model(probe)
        hits = [_best(row, probe) for row in self.rows.values() if is_wanted(row.profile, wanted)]
        return sorted(hits, key=lambda hit: (-hit.score, hit.subject_id, hit.template_id))[:limit]

    def search_many(self, probes: Sequence[Embedding], limit: int, wanted: Wanted = EVERYBODY) -> list[list[Hit]]:
        """As `search` for each."""
        return [self.search(probe, limit, wanted) for probe in probes]

    def best_of(self, subject_id: SubjectId, probe: Embedding, wanted: Wanted = EVERYBODY) -> Hit | None:
        """The subject's template most like the probe."""
        self._require_model(probe)
        row = self.rows.get(subject_id)
        return _best(row, probe) if row is not None and is_wanted(row.profile, wanted) else None

    def name_of(self, subject_id: SubjectId) -> str:
        """The subject's display name."""
        row = self.rows.get(subject_id)
        return row.profile.display_name if row is not None else ""

    def __contains__(self, subject_id: object) -> bool:
        """Whether the subject has a template here."""
        return subject_id in self.rows

    def _require_model(self, probe: Embedding) -> None:
        if probe.model_id != self.model_id:
            raise ModelMismatchError(self.model_id, probe.model_id)


def _named(profile: SearchProfile, name: str) -> SearchProfile:
    return replace(profile, display_name=name)


def is_wanted(profile: SearchProfile, wanted: Wanted) -> bool:
    """Whether a search may find who has this profile."""
    if not wanted.labels <= set(profile.labels):
        return False
    if wanted.camera_id and profile.camera_ids and wanted.camera_id not in profile.camera_ids:
        return False
    if wanted.at is None:
        return True
    begun = profile.valid_from is None or profile.valid_from <= wanted.at
    return begun and (profile.valid_until is None or wanted.at < profile.valid_until)


def score_of(vector: HalfVector, probe: Embedding) -> float:
    """The cosine of a kept template and a probe, in float64."""
    row = vector.astype(np.float64)
    cosine = float(row @ probe.vector.astype(np.float64) / np.linalg.norm(row))
    return min(1.0, max(-1.0, cosine))


def _best(row: SearchRow, probe: Embedding) -> Hit:
    scored = [(-score_of(template.vector, probe), template.template_id) for template in row.templates]
    score, template_id = min(scored)
    return Hit(row.subject_id, template_id, -score, row.profile.display_name, len(row.templates))
