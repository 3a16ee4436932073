"""Reads a CSV file of people: a row for each picture, several rows of one subject joined."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tessera.client.bulk_plan import MAX_PICTURES, PlannedSubject, PlanProblem
from tessera.domain.ids import ALLOWED_TEXT, is_id

COLUMNS = (
    "subject_id",
    "path",
    "display_name",
    "external_id",
    "labels",
    "consent_reference",
    "valid_from",
    "valid_until",
)

_REQUIRED = ("subject_id", "path")
_MAX_TEXT = 256
_MAX_LABELS = 32
_MAX_LABEL = 64


@dataclass(slots=True)
class _Rows:
    """The rows of one subject, joined."""

    values: dict[str, str] = field(default_factory=dict)
    told_in: dict[str, int] = field(default_factory=dict)
    """The line of each value."""
    pictures: list[str] = field(default_factory=list)


class CsvReader:
    """Reads one file; problems are collected, so that all of them are told at once.

    Args:
        source: the file; its folder is where the paths in it begin.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self.root = source.parent.resolve()
        self.problems: list[PlanProblem] = []
        self._people: dict[str, _Rows] = {}
        self._line_of_picture: dict[str, int] = {}

    @property
    def lines(self) -> dict[str, int]:
        """Where each subject is told of first."""
        return {name: rows.told_in["subject_id"] for name, rows in self._people.items()}

    def where(self, line: int, column: str = "") -> str:
        """A place in the file, for people."""
        return f"{self.source.name}, line {line}" + (f", column {column}" if column else "")

    def _problem(self, line: int, column: str, found: str, allowed: str) -> None:
        self.problems.append(PlanProblem(self.where(line, column), found, allowed))

    def read(self) -> list[PlannedSubject]:
        """Everybody in the file; to be used only when no problem was found."""
        line = 1
        try:
            with self.source.open(encoding="utf-8-sig", newline="") as file:
                rows = csv.reader(file, strict=True)
                columns = self._columns(next(rows, []))
                line = rows.line_num + 1
                for row in rows:
                    if columns and any(row):
                        self._row(line, columns, row)
                    line = rows.line_num + 1
        except csv.Error as error:
            self._problem(line, "", str(error), "comma-separated values, quoted with double quotes")
        except UnicodeDecodeError:
            self._problem(line, "", "bytes that are not UTF-8 from about here on", "a file saved as UTF-8")
        if not self.problems and not self._people:
            self._problem(line, "", "no row", "a row for each picture")
        return [self._subject(name, rows) for name, rows in self._people.items()]

    def _columns(self, header: Sequence[str]) -> list[str]:
        columns = [name.strip() for name in header]
        for name in columns:
            if name not in COLUMNS:
                self._problem(1, name, "no such column", ", ".join(COLUMNS) + ", separated by commas")
            elif columns.count(name) > 1:
                self._problem(1, name, "it is there twice", "each column once")
        for name in _REQUIRED:
            if name not in columns:
                self._problem(1, name, "it is missing", "at least " + " and ".join(_REQUIRED))
        return [] if self.problems else columns

    def _row(self, line: int, columns: Sequence[str], row: Sequence[str]) -> None:
        if len(row) != len(columns):
            self._problem(line, "", f"{len(row)} values", f"{len(columns)}, one for each column")
            return
        values = {name: value.strip() for name, value in zip(columns, row, strict=True)}
        subject_id, path = values["subject_id"], values.pop("path")
        if not is_id(subject_id):
            self._problem(line, "subject_id", repr(subject_id), ALLOWED_TEXT)
            return
        rows = self._people.setdefault(subject_id, _Rows())
        self._join(line, rows, values)
        self._picture(line, rows, path)

    def _join(self, line: int, rows: _Rows, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            if not value:
                continue
            first = rows.told_in.setdefault(name, line)
            if rows.values.setdefault(name, value) != value:
                self._problem(line, name, f"another value than in line {first}", "one value for each subject")
            elif first == line:
                self._check(line, name, value)

    def _check(self, line: int, name: str, value: str) -> None:
        if name == "labels":
            labels = _labels(value)
            if len(labels) > _MAX_LABELS or any(len(label) > _MAX_LABEL for label in labels):
                allowed = f"at most {_MAX_LABELS} of at most {_MAX_LABEL} characters, separated by ;"
                self._problem(line, name, f"{len(labels)} labels", allowed)
        elif name in {"valid_from", "valid_until"}:
            if _moment(value) is None:
                self._problem(
                    line, name, repr(value), "a date or a time such as 2027-01-31 or 2027-01-31T18:00:00+01:00"
                )
        elif len(value) > _MAX_TEXT:
            self._problem(line, name, f"{len(value)} characters", f"at most {_MAX_TEXT}")

    def _picture(self, line: int, rows: _Rows, path: str) -> None:
        name = os.path.normpath(path) if path else ""
        if not path or Path(name).is_absolute() or name.split("/")[0] == "..":
            self._problem(line, "path", repr(path), "a path from the CSV's own folder, to a file in it")
        elif name in self._line_of_picture:
            self._problem(
                line, "path", f"the same picture as in line {self._line_of_picture[name]}", "each picture once"
            )
        elif not (self.root / name).is_file():
            self._problem(line, "path", f"no file {path!r}", "a file that is there")
        elif len(rows.pictures) == MAX_PICTURES:
            self._problem(line, "path", f"picture {MAX_PICTURES + 1} of this subject", f"at most {MAX_PICTURES}")
        else:
            self._line_of_picture[name] = line
            rows.pictures.append(name)

    def _subject(self, subject_id: str, rows: _Rows) -> PlannedSubject:
        values = rows.values
        begins, ends = _moment(values.get("valid_from", "")), _moment(values.get("valid_until", ""))
        if begins is not None and ends is not None and begins >= ends:
            self._problem(rows.told_in["valid_until"], "valid_until", "not after valid_from", "a later moment")
        return PlannedSubject(
            subject_id=subject_id,
            pictures=tuple(rows.pictures),
            display_name=values.get("display_name", ""),
            external_id=values.get("external_id", ""),
            labels=_labels(values.get("labels", "")),
            consent_reference=values.get("consent_reference", ""),
            valid_from=begins,
            valid_until=ends,
        )


def _labels(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label.strip() for label in value.split(";") if label.strip()))


def _moment(value: str) -> datetime | None:
    """UTC; a date is its first moment, and a time without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
