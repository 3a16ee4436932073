"""Reads whom to enrol out of a folder or a CSV file.

What is wrong is told whole, with folder or line and column, before anything is sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tessera.client.bulk_csv import CsvReader
from tessera.client.bulk_plan import MAX_PICTURES, Plan, PlanError, PlannedSubject, PlanProblem
from tessera.domain.ids import ALLOWED_TEXT, is_id

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


def read_plan(source: Path, *, consent_reference: str = "", require_consent: bool = False) -> Plan:
    """Read whom to enrol.

    Args:
        source: a folder SOURCE/SUBJECT_ID/*.jpg, or a CSV file with the columns of `bulk_csv.COLUMNS`.
        consent_reference: of everybody for whom the source names none.
        require_consent: nobody may be without one.

    Raises:
        PlanError: something must be put right first; all of it is told.
    """
    try:
        plan, lines = _from_folder(source) if source.is_dir() else _from_csv(source)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise PlanError(
            [PlanProblem(str(error.filename or source), why, "a folder or a file that can be read")]
        ) from None
    subjects = [replace(one, consent_reference=one.consent_reference or consent_reference) for one in plan.subjects]
    if require_consent:
        missing = [lines[one.subject_id] for one in subjects if not one.consent_reference]
        _raise_if([PlanProblem(where, "no consent", "where the consent is recorded") for where in missing])
    return replace(plan, subjects=tuple(subjects))


def _raise_if(problems: Sequence[PlanProblem]) -> None:
    if problems:
        raise PlanError(problems)


# ---- from a folder


def _from_folder(source: Path) -> tuple[Plan, Mapping[str, str]]:
    """The plan, and how to name each subject's place in it."""
    subjects: list[PlannedSubject] = []
    left_out: list[str] = []
    problems: list[PlanProblem] = []
    for entry in _visible(source):
        if not entry.is_dir():
            left_out.append(entry.name)
            continue
        files = list(_visible(Path(entry.path)))
        pictures = [f"{entry.name}/{file.name}" for file in files if _is_picture(file.name)]
        left_out += [f"{entry.name}/{file.name}" for file in files if not _is_picture(file.name)]
        problems += _folder_problems(source, entry.name, len(pictures))
        subjects.append(PlannedSubject(entry.name, tuple(pictures)))
    if not subjects:
        problems.append(PlanProblem(str(source), "no folder in it", "a folder for each person: SUBJECT_ID/*.jpg"))
    _raise_if(problems)
    plan = Plan(source, source.resolve(), tuple(subjects), tuple(left_out))
    return plan, {one.subject_id: f"{source / one.subject_id}" for one in subjects}


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES


def _folder_problems(source: Path, name: str, pictures: int) -> Iterator[PlanProblem]:
    where = str(source / name)
    if not is_id(name):
        yield PlanProblem(where, "its name cannot be a subject's id", ALLOWED_TEXT)
    if not 1 <= pictures <= MAX_PICTURES:
        suffixes = " ".join(sorted(PICTURE_SUFFIXES))
        yield PlanProblem(where, f"{pictures} pictures", f"1 to {MAX_PICTURES}, by their names {suffixes}")


# ---- from a CSV file


def _from_csv(source: Path) -> tuple[Plan, Mapping[str, str]]:
    """The plan, and how to name each subject's place in it."""
    reader = CsvReader(source)
    subjects = reader.read()
    _raise_if(reader.problems)
    lines = {subject_id: reader.where(line, "consent_reference") for subject_id, line in reader.lines.items()}
    return Plan(source, reader.root, tuple(subjects)), lines
