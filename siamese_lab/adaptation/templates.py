"""A deployment's labelled templates: whose each vector is, and which encoder made it; as a file and in memory.

The file holds embeddings of people: it is personal data, and belongs where the gallery's store belongs.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tessera.domain.embedding import Vectors
from tessera.domain.errors import ArtifactError, InvalidInputError

Subjects = npt.NDArray[np.intp]
Rows = npt.NDArray[np.bool_]

_UNIT_TOLERANCE = 1e-2
LEAST_PEOPLE = 20


@dataclass(frozen=True, slots=True, eq=False)
class LabelledTemplates:
    """Templates of one encoder, and whose they are."""

    vectors: Vectors
    """float32 (n, d), unit rows."""
    subjects: Subjects
    """Shape (n,), from 0 without gaps."""
    model_id: str

    def __len__(self) -> int:
        return len(self.vectors)

    def of(self, people: Rows) -> LabelledTemplates:
        """Those of some people.

        Args:
            people: shape (subjects,), who.
        """
        rows = people[self.subjects]
        subjects = np.unique(self.subjects[rows], return_inverse=True)[1].astype(np.intp)
        return LabelledTemplates(self.vectors[rows], subjects, self.model_id)


def labelled_templates(vectors: npt.ArrayLike, people: Sequence[str], model_id: str) -> LabelledTemplates:
    """Templates with their labels, checked.

    Args:
        vectors: shape (n, d), unit rows.
        people: n labels; the same label is the same person.
        model_id: of the encoder that made all of them.

    Raises:
        InvalidInputError: lengths differ, a row is no unit vector, or there are fewer than 20 people of two or more
            templates.
    """
    rows = np.asarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or len(rows) != len(people) or not bool(np.isfinite(rows).all()):
        raise InvalidInputError("vectors", rows.shape, f"finite rows, one for each of {len(people)} labels")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if bool((np.abs(lengths - 1.0) > _UNIT_TOLERANCE).any()):
        raise InvalidInputError("vectors", "a row of another length", "rows of length 1")
    subjects = np.unique(np.asarray(people, dtype=np.str_), return_inverse=True)[1].astype(np.intp)
    several = int((np.bincount(subjects, minlength=1) > 1).sum())
    if several < LEAST_PEOPLE:
        raise InvalidInputError("people", several, f"at least {LEAST_PEOPLE} of two or more templates each")
    return LabelledTemplates((rows / lengths).astype(np.float32), subjects, model_id)


def read_templates(file: Path) -> LabelledTemplates:
    """Read `vectors` (n, d), `people` (n,) and `model_id` from a .npz file; nothing in it is ever run.

    Raises:
        ArtifactError: it is no such file.
        InvalidInputError: what it holds does not fit together.
    """
    try:
        with np.load(file, allow_pickle=False) as kept:
            vectors, people, model_id = kept["vectors"], kept["people"].tolist(), str(kept["model_id"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(str(file), f"no .npz with vectors, people and model_id: {error}") from error
    return labelled_templates(vectors, [str(person) for person in people], model_id)


def write_templates(file: Path, vectors: Vectors, people: Sequence[str], model_id: str) -> None:
    """Write what `read_templates` reads."""
    with file.open("wb") as out:
        np.savez(out, vectors=vectors, people=np.array(people, dtype=np.str_), model_id=np.array(model_id))
