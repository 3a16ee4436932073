"""Labelled scores, embeddings and groups out of files; what is wrong is told with its line, and nothing is guessed."""

from __future__ import annotations

import csv
import hashlib
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.domain.embedding import Modality, Vectors
from tessera.domain.errors import InvalidInputError
from tessera.domain.fitting import LabelledScores, independent_scores

SCORE_COLUMNS = ("score", "mated", "first", "second")
GROUP_COLUMNS = ("subject", "group")
_YES = {"1", "true", "yes", "mated"}
_NO = {"0", "false", "no", "non-mated"}


@dataclass(frozen=True, slots=True, eq=False)
class ScoreFile:
    """Labelled scores out of a file."""

    scores: LabelledScores
    names: tuple[str, ...]
    """Of the subjects by their numbers; empty: the file names none, and pairs are independent."""
    digest: str
    """sha256 of the file, hex."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingFile:
    """Labelled embeddings out of a file, or of pictures that were embedded."""

    vectors: Vectors
    subjects: tuple[str, ...]
    model_id: str
    """Empty: the file does not say."""
    digest: str
    """sha256 of the file, or over the pictures, hex."""
    samples_tried: int = 0
    """Pictures; 0: nobody knows."""
    without_face: tuple[str, ...] = ()
    """Names of those that could not be used."""
    modality: Modality | None = None
    """None: the file does not say."""


def read_scores(path: Path, *, independent: bool = False) -> ScoreFile:
    """Read scores: a CSV file or an npz file with the columns score, mated, first, second.

    Args:
        path: of the file; `mated` is 1 or 0; `first` and `second` name the subjects.
        independent: no two pairs share a subject, so that subjects need not be named.

    Raises:
        InvalidInputError: a column is missing, or a line makes no sense.
    """
    rows = list(_npz_rows(path) if _is_npz(path) else _csv_rows(path, SCORE_COLUMNS[:2]))
    if not rows:
        raise InvalidInputError("--scores", path.name, "one line or more below the head")
    values = np.array([_score(path, line, row) for line, row in rows])
    mated = np.array([_is_mated(path, line, row) for line, row in rows])
    if independent:
        return ScoreFile(independent_scores(values[mated], values[~mated]), (), _digest(path))
    place: dict[str, int] = {}
    pairs = np.array([_pair(path, line, row, place) for line, row in rows], dtype=np.intp)
    scores = LabelledScores(values[mated], pairs[mated, 0], values[~mated], pairs[~mated, 0], pairs[~mated, 1])
    return ScoreFile(scores, tuple(place), _digest(path))


def read_embeddings(path: Path) -> EmbeddingFile:
    """Read an npz file with `vectors` (n, d) and `subjects` (n,), and perhaps `model_id` and `modality`.

    Raises:
        InvalidInputError: it is no such file, or they do not fit together.
    """
    arrays = _npz(path, "--embeddings")
    vectors, subjects = arrays.get("vectors"), arrays.get("subjects")
    if vectors is None or subjects is None or vectors.ndim != 2 or subjects.shape != vectors.shape[:1]:
        raise InvalidInputError("--embeddings", path.name, "arrays `vectors` (n, d) and `subjects` (n,)")
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not bool(np.isfinite(lengths).all() and (lengths > 0).all()):
        raise InvalidInputError("--embeddings", path.name, "finite vectors that are not zero")
    names = tuple(str(subject) for subject in subjects)
    modality = _modality(path, _word(arrays, "modality"))
    return EmbeddingFile(rows / lengths, names, _word(arrays, "model_id"), _digest(path), modality=modality)


def _word(arrays: Mapping[str, np.ndarray], name: str) -> str:
    """The one word of an array; empty: there is none."""
    array = arrays.get(name)
    return str(array.item()) if array is not None and array.size == 1 else ""


def _modality(path: Path, word: str) -> Modality | None:
    if not word:
        return None
    try:
        return Modality(word.upper())
    except ValueError:
        raise InvalidInputError(f"{path.name}, modality", word, ", ".join(one.lower() for one in Modality)) from None


def read_groups(path: Path) -> Mapping[str, str]:
    """Read a CSV file with the columns subject and group; an empty group is an unknown one.

    Raises:
        InvalidInputError: a column is missing, or a subject is in two groups.
    """
    groups: dict[str, str] = {}
    for line, row in _csv_rows(path, GROUP_COLUMNS):
        subject, group = row["subject"], row["group"].strip()
        if groups.setdefault(subject, group) != group:
            raise InvalidInputError(f"{path.name}, line {line}", group, "one group for each subject")
    return {subject: group for subject, group in groups.items() if group}


def _csv_rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise InvalidInputError(f"{path.name}, line 1", ",".join(reader.fieldnames or ()), ",".join(needed))
            for row in reader:
                yield reader.line_num, {str(name): str(value or "") for name, value in row.items()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError("file", path.name, f"a CSV file in UTF-8 ({error})") from None


def _npz_rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    arrays = _npz(path, "--scores")
    present = [name for name in SCORE_COLUMNS if name in arrays]
    lengths = {arrays[name].shape for name in present}
    if not {"score", "mated"} <= set(present) or len(lengths) != 1 or len(next(iter(lengths))) != 1:
        raise InvalidInputError("--scores", path.name, "arrays score, mated, first and second, all of one length")
    columns = [arrays[name].tolist() for name in present]
    for at, values in enumerate(zip(*columns, strict=True), start=1):
        yield at, {name: str(value) for name, value in zip(present, values, strict=True)}


def _npz(path: Path, field: str) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise InvalidInputError(field, path.name, f"an npz file without objects ({type(error).__name__})") from None


def _is_npz(path: Path) -> bool:
    return path.suffix.lower() == ".npz"


def _score(path: Path, line: int, row: Mapping[str, str]) -> float:
    try:
        score = float(row["score"])
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise InvalidInputError(f"{path.name}, line {line}, score", row["score"], "a finite number")
    return score


def _is_mated(path: Path, line: int, row: Mapping[str, str]) -> bool:
    said = row["mated"].strip().lower()
    if said not in _YES | _NO:
        raise InvalidInputError(f"{path.name}, line {line}, mated", row["mated"], "1 or 0")
    return said in _YES


def _pair(path: Path, line: int, row: Mapping[str, str], place: dict[str, int]) -> tuple[int, int]:
    """The numbers of the two subjects; new ones are numbered."""
    first, second, mated = row.get("first", ""), row.get("second", ""), row["mated"].strip().lower() in _YES
    second = second or (first if mated else "")
    if not first or not second or (first == second) != mated:
        allowed = "the subjects of the pair in `first` and `second`: the same in a mated pair, two in a non-mated one"
        raise InvalidInputError(f"{path.name}, line {line}", f"{first}, {second}", f"{allowed}; or --independent")
    return place.setdefault(first, len(place)), place.setdefault(second, len(place))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
