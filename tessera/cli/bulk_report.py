"""What a bulk enrolment says of each person: rows of a CSV file, and lines for people."""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType
from typing import TextIO

from tessera.cli.words import reason_text
from tessera.client.bulk import BulkOutcome
from tessera.client.bulk_journal import BulkStatus, SubjectResult
from tessera.client.bulk_pictures import CHANGED, OUTSIDE_FOLDER, SAME_PICTURE, UNREADABLE, PictureResult
from tessera.domain.errors import InvalidInputError
from tessera.domain.reasons import Reason

HEADER = ("subject", "status", "accepted", "reasons", "detail")

_OWN_REASONS = {
    OUTSIDE_FOLDER: "it lies outside of the folder",
    UNREADABLE: "it cannot be read",
    SAME_PICTURE: "it is there twice",
    CHANGED: "it changed meanwhile",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class BulkReport:
    """A CSV file with a row for each person, written as the answers come.

    Args:
        path: an earlier file there is replaced; None: no report.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: TextIO | None = None

    def __enter__(self) -> BulkReport:
        """Open the file.

        Raises:
            InvalidInputError: it cannot be written.
        """
        if self._path is not None:
            try:
                self._file = self._path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
            except OSError as error:
                allowed = f"a file that can be written, and this cannot: {error.strerror}"
                raise InvalidInputError("report", str(self._path), allowed) from None
            csv.writer(self._file).writerow(HEADER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, result: SubjectResult) -> None:
        """Write one row, at once."""
        if self._file is None:
            return
        refused = [picture for picture in result.pictures if not picture.accepted]
        reasons = "; ".join(f"{picture.name}: {'+'.join(picture.reasons) or 'REJECTED'}" for picture in refused)
        details = [result.detail, *(f"{picture.name}: {picture.detail}" for picture in refused if picture.detail)]
        detail = "; ".join(text for text in details if text)
        row = (result.subject_id, result.status.value, str(result.accepted), reasons, detail)
        csv.writer(self._file).writerow([_not_a_formula(cell) for cell in row])
        self._file.flush()


def _not_a_formula(cell: str) -> str:
    """A spreadsheet runs what begins with `=`, and the names of files are other people's."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def counts_text(outcome: BulkOutcome, *, dry_run: bool) -> str:
    """The last line: how many became what."""
    counts = outcome.counts
    words = {BulkStatus.ALREADY: "already enrolled"} | ({BulkStatus.NOT_SENT: "to be sent"} if dry_run else {})
    always = BulkStatus.NOT_SENT if dry_run else BulkStatus.ENROLLED
    shown = [status for status in BulkStatus if status is always or counts.get(status)]
    parts = [f"{words.get(status, status.value)} {counts.get(status, 0)}" for status in shown]
    text = f"{sum(counts.values())} people: {', '.join(parts)}"
    refused = outcome.pictures_refused
    return text + (f"; {refused} picture{'' if refused == 1 else 's'} refused" if refused else "")


def trouble_text(result: SubjectResult) -> str:
    """Why somebody was not enrolled, on one line."""
    refused = [_picture_text(picture) for picture in result.pictures if picture.reasons]
    return f"{result.subject_id}: {result.status.value}: " + ("; ".join(refused) or result.detail)


def _picture_text(picture: PictureResult) -> str:
    why = ", ".join(_reason_text(reason) for reason in picture.reasons)
    return f"{picture.name}: {why}"


def _reason_text(reason: str) -> str:
    try:
        return _OWN_REASONS.get(reason) or reason_text(Reason(reason))
    except (ValueError, KeyError):  # of a later version of the service
        return reason
