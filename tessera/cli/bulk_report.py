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

HEADER = ("subject", "status", "accepted", "reasons", "detail", "looks_like")

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
        told = [picture for picture in result.pictures if picture.detail and (picture.reasons or not picture.accepted)]
        merged = f"the pictures went to {result.merged_into}" if result.merged_into else ""
        details = [result.detail, merged, *(f"{picture.name}: {picture.detail}" for picture in told)]
        detail = "; ".join(text for text in details if text)
        others = "; ".join(result.duplicates)
        row = (result.subject_id, result.status.value, str(result.accepted), reasons, detail, others)
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
    found = (
        (outcome.pictures_refused, "picture refused", "pictures refused"),
        (outcome.duplicates, "person looks like somebody else", "people look like somebody else"),
        (outcome.outliers, "picture unlike its person's others", "pictures unlike their person's others"),
    )
    return "; ".join([text, *(f"{number} {one if number == 1 else many}" for number, one, many in found if number)])


def is_told(result: SubjectResult) -> bool:
    """Somebody was not enrolled, or something was found that somebody should look at; by this run."""
    if result.status in {BulkStatus.REJECTED, BulkStatus.FAILED}:
        return True
    return result.status is BulkStatus.ENROLLED and bool(result.duplicates or result.outliers)


def told_text(result: SubjectResult) -> str:
    """What `is_told` is about, on one line."""
    pictures = [_picture_text(picture) for picture in result.pictures if picture.reasons]
    who = f"looks like {', '.join(result.duplicates)}" if result.duplicates else ""
    if result.merged_into:
        who = f"is {result.merged_into}, who has the pictures now"
    if result.status is BulkStatus.ENROLLED:
        said = [who, *(text for text in pictures if text)]
    else:
        said = [who, *pictures] if pictures else [result.detail]
    return f"{result.subject_id}: {result.status.value}: " + "; ".join(text for text in said if text)


def _picture_text(picture: PictureResult) -> str:
    why = ", ".join(_reason_text(reason) for reason in picture.reasons)
    return f"{picture.name}: {why}"


def _reason_text(reason: str) -> str:
    try:
        return _OWN_REASONS.get(reason) or reason_text(Reason(reason))
    except (ValueError, KeyError):  # of a later version of the service
        return reason
