"""The index: every template of one collection, ready to be searched; a copy of the store that may be thrown away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gallery_svc.rows import RowBatch, SearchRow
from tessera.domain.embedding import Embedding
from tessera.domain.ids import ModelId, SubjectId, TemplateId


@dataclass(frozen=True, slots=True)
class Hit:
    """One subject that a search found, by its best template."""

    subject_id: SubjectId
    template_id: TemplateId
    score: float
    """Cosine similarity in [-1, 1]; higher = more alike."""
    display_name: str = ""
    """Of the subject; empty when it has none."""
    compared: int = 1
    """Templates of the subject that were compared; of a search it is not counted."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which subjects a search may find. What is not asked for does not narrow it."""

    labels: frozenset[str] = frozenset()
    """Subjects that have all of these."""
    camera_id: str = ""
    """Subjects that this camera may find; empty: the search comes from no camera, and finds all."""
    at: datetime | None = None
    """Subjects that are valid at this moment, UTC; None: validity is not asked."""


EVERYBODY = Wanted()


@dataclass(frozen=True, slots=True, eq=False)
class Put:
    """A subject as it is now, instead of whatever was there; the same again changes nothing."""

    row: SearchRow


@dataclass(frozen=True, slots=True)
class Removal:
    """A subject that goes with all its templates; one that is not there is no error."""

    subject_id: SubjectId


Update = Put | Removal


@dataclass(frozen=True, slots=True)
class IndexCoverage:
    """What an answer of this index is worth, and what it keeps where."""

    exact: bool
    """Every subject was compared."""
    vectors_in_clear: bool
    """They lie unencrypted outside of this process."""
    memory_bytes: int
    """That it holds in this process."""


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

    @property
    def coverage(self) -> IndexCoverage:
        """What its answers are worth."""
        ...

    def apply(self, updates: Sequence[Update]) -> None:
        """Take updates in their order; readers see all of them or none. The same again changes nothing."""
        ...

    def expect(self, subjects: int) -> None:
        """Hear about how many will be loaded, before the first; whatever comes, the answers are the same."""
        ...

    def load(self, batch: RowBatch) -> None:
        """Take many subjects that are not there yet; for an index that is shown to nobody before its end.

        Raises:
            ValueError: a subject is there already.
        """
        ...

    def search(self, probe: Embedding, limit: int, wanted: Wanted = EVERYBODY) -> list[Hit]:
        """The subjects most like the probe, best first, ties by subject id and then template id.

        Args:
            probe: of this index's model.
            limit: so many subjects, or all that are wanted if they are fewer; at least 1.
            wanted: who may be found.

        Raises:
            ModelMismatchError: the probe was made by another model.
        """
        ...

    def search_many(self, probes: Sequence[Embedding], limit: int, wanted: Wanted = EVERYBODY) -> list[list[Hit]]:
        """As `search` for each of the probes, all over one state; the same answers, quicker together."""
        ...

    def best_of(self, subject_id: SubjectId, probe: Embedding, wanted: Wanted = EVERYBODY) -> Hit | None:
        """The subject's template most like the probe; None when the subject has none, or is not wanted.

        Raises:
            ModelMismatchError: the probe was made by another model.
        """
        ...

    def name_of(self, subject_id: SubjectId) -> str:
        """The subject's display name; empty when it has none or is not here."""
        ...

    def __contains__(self, subject_id: object) -> bool:
        """Whether the subject has a template here."""
        ...
