"""What a bulk enrolment has done, in a file beside its source: a second run asks nobody about those any more.

A line for each subject, written when its answer came. A lost or torn line costs a question to the gallery and nothing
else: what keeps a person from being enrolled twice is the gallery, by request id and by what its templates were made
of. The file holds ids and names of pictures, and not one byte of a picture.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from tessera.client.bulk_pictures import PictureResult
from tessera.domain.errors import InvalidInputError
from tessera.domain.reasons import Reason

JOURNAL_NAME = ".tessera-enroll.jsonl"

_SCHEMA = 1


class BulkStatus(StrEnum):
    """What became of one subject."""

    ENROLLED = "enrolled"
    """Now; at least one picture became a template."""
    ALREADY = "already"
    """By an earlier run, or by somebody else; nothing was written now."""
    REJECTED = "rejected"
    """No picture is good enough, or a value cannot be used. The same again is rejected again."""
    FAILED = "failed"
    """No answer. The next run tries again, and finds out whether it was written."""
    NOT_SENT = "not sent"
    """The run ended before its turn."""


@dataclass(frozen=True, slots=True)
class SubjectResult:
    """What became of one subject, and of each picture."""

    subject_id: str
    status: BulkStatus
    pictures: tuple[PictureResult, ...]
    detail: str = ""
    request_id: str = ""
    """Made of what was to be enrolled: the same content has the same."""
    duplicates: tuple[str, ...] = ()
    """Other subjects that look like this one, best first."""
    merged_into: str = ""
    """The subject that the pictures went to, since they already were of it; empty: to this one."""

    @property
    def accepted(self) -> int:
        """Pictures that are templates now."""
        return sum(picture.accepted for picture in self.pictures)

    @property
    def outliers(self) -> int:
        """Pictures that do not look like the subject's others, refused or not."""
        return sum(Reason.OUTLIER.value in picture.reasons for picture in self.pictures)


@dataclass(frozen=True, slots=True)
class Target:
    """Where somebody is enrolled: what was done for one place says nothing of another."""

    server: str
    collection_id: str


class Journal:
    """The journal of one run; holds its file alone until it is closed. May be used from several threads.

    Args:
        path: made when it is missing.
        target: lines for others are kept, and not read.
        restart: do as if nothing had been done.
    """

    def __init__(self, path: Path, target: Target, *, restart: bool = False) -> None:
        self._path = path
        self._target = target
        self._restart = restart
        self._lock = threading.Lock()
        self._done: Mapping[str, SubjectResult] = {}
        self._file: BinaryIO | None = None

    def __enter__(self) -> Journal:
        """Open, lock and read the file.

        Raises:
            InvalidInputError: it cannot be written, or another run has it.
        """
        descriptor = _opened(self._path)
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        lines = self._file.read().splitlines(keepends=True)  # at once: line by line, unbuffered, is byte by byte
        if lines and not lines[-1].endswith(b"\n"):
            self._file.write(b"\n")  # a line that a crash cut off must not take the next one with it
        if not self._restart:
            self._done = done_in(lines, self._target)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def done(self, request_id: str) -> SubjectResult | None:
        """What an earlier run got for the same content, here; None: nothing that is done."""
        return self._done.get(request_id)

    def record(self, result: SubjectResult) -> None:
        """Write down what became of a subject, at once."""
        line = json.dumps({"schema": _SCHEMA, **asdict(self._target), **asdict(result)}, separators=(",", ":"))
        with self._lock:
            if self._file is not None:
                self._file.write(line.encode() + b"\n")


def read_done(path: Path, target: Target) -> Mapping[str, SubjectResult]:
    """What a journal says is done, by request id; empty when there is none. Writes nothing."""
    try:
        with path.open("rb") as file:
            return done_in(file, target)
    except FileNotFoundError:
        return {}


def done_in(lines: Iterable[bytes], target: Target) -> dict[str, SubjectResult]:
    """The subjects that are enrolled; lines that cannot be read, or are for another target, are passed over."""
    results = (_result_from(line, target) for line in lines)
    return {result.request_id: result for result in results if result is not None}


def _opened(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        allowed = f"a file that can be written, and this cannot: {error.strerror}"
        raise InvalidInputError("journal", str(path), allowed) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise InvalidInputError("journal", str(path), "one run at a time, and another one has it") from None
    return descriptor


def _result_from(line: bytes, target: Target) -> SubjectResult | None:
    try:
        told: dict[str, Any] = json.loads(line)
        if (told["server"], told["collection_id"]) != (target.server, target.collection_id):
            return None
        status = BulkStatus(told["status"])
        pictures = tuple(
            PictureResult(one["name"], one["accepted"], tuple(one["reasons"]), one["detail"])
            for one in told["pictures"]
        )
        result = SubjectResult(
            subject_id=told["subject_id"],
            status=status,
            pictures=pictures,
            detail=told["detail"],
            request_id=told["request_id"],
            # Lines of earlier versions have neither.
            duplicates=tuple(told.get("duplicates", ())),
            merged_into=told.get("merged_into", ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return result if told["schema"] == _SCHEMA and status in {BulkStatus.ENROLLED, BulkStatus.ALREADY} else None
