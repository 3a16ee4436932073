"""The index: every template of one collection, ready to be searched; a copy of the store that may be thrown away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tessera.domain.embedding import Embedding, Vector
from tessera.domain.ids import ModelId, SubjectId, TemplateId


@dataclass(frozen=True, slots=True)
class Hit:
    """One subject that a search found, by its best template."""

    subject_id: SubjectId
    template_id: TemplateId
    score: float
    """Cosine similarity in [-1, 1]; higher = more alike."""


@dataclass(frozen=True, slots=True, eq=False)
class Addition:
    """A template that is new."""

    subject_id: SubjectId
    template_id: TemplateId
    vector: Vector
    """float32, shape (d,), length 1."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A subject that goes with all its templates."""

    subject_id: SubjectId


Update = Addition | Removal


class Index(Protocol):
    """Search over the templates of one model. Reads see one state from begin to end, whatever is applied meanwhile."""

    @property
    def model_id(self) -> ModelId:
        """The one model whose embeddings it holds."""
        ...

    @property
    def subject_count(self) -> int:
        """Subjects with at least one template."""
        ...

    @property
    def template_count(self) -> int:
        """Templates."""
        ...

    def apply(self, updates: Sequence[Update]) -> None:
        """Take updates in their order; readers see all of them or none. The same again changes nothing."""
        ...

    def search(self, probe: Embedding, limit: int) -> list[Hit]:
        """The subjects most like the probe, best first, ties by subject id.

        Args:
            probe: of this index's model.
            limit: at most so many subjects; at least 1.

        Raises:
            ModelMismatchError: the probe was made by another model.
        """
        ...

    def best_of(self, subject_id: SubjectId, probe: Embedding) -> Hit | None:
        """The subject's template most like the probe; None when the subject has none.

        Raises:
            ModelMismatchError: the probe was made by another model.
        """
        ...

    def __contains__(self, subject_id: object) -> bool:
        """Whether the subject has a template here."""
        ...
