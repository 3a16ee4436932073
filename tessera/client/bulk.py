"""Enrols many people: several at a time, each once, however often it is run, and however it ended before.

A subject's request id is made of what is enrolled, so that a call that is repeated writes once. Before anything of a
subject is sent, the journal is asked, and then the gallery, which pictures are templates already: the gallery forgets
request ids after a day, and never what a template was made of.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeVar

from tessera.chassis.clock import Clock, SystemClock
from tessera.client.answers import DuplicatePolicy, Enrolment, OutlierPolicy, Subject
from tessera.client.bulk_journal import BulkStatus, SubjectResult
from tessera.client.bulk_pictures import (
    PictureFile,
    PictureRefusedError,
    PictureResult,
    look_at,
    read_again,
    requests_of,
)
from tessera.client.bulk_plan import Plan, PlannedSubject
from tessera.client.bulk_results import differences, joined, not_sent, refused_duplicate, rejected, request_id_of
from tessera.client.errors import (
    BadInput,
    DuplicateSubject,
    NotAllowedNow,
    NotBuilt,
    NotFound,
    ServiceUnavailable,
    StoreDamaged,
    TesseraCallError,
)
from tessera.domain.errors import InvalidInputError

DEFAULT_PARALLEL = 8
DEFAULT_PATIENCE_S = 120.0

_GIVEN_UP_IN_A_ROW = 3
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0

_NO_PICTURE = "no picture that can be sent"
_PRESENT = "is a template already"

T = TypeVar("T")


class People(Protocol):
    """What a bulk enrolment needs of the SDK."""

    def get_subject(self, subject_id: str, *, collection_id: str = "") -> Subject:
        """One subject; raises `NotFound`."""
        ...

    def enroll(
        self,
        subject_id: str,
        images: Sequence[bytes],
        *,
        collection_id: str = "",
        display_name: str = "",
        external_id: str = "",
        labels: Sequence[str] = (),
        consent_reference: str = "",
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        duplicate_policy: DuplicatePolicy | None = None,
        outlier_policy: OutlierPolicy | None = None,
        request_id: str = "",
    ) -> Enrolment:
        """Add samples to a subject; the same request id writes once."""
        ...


class Done(Protocol):
    """What is asked of a journal."""

    def done(self, request_id: str) -> SubjectResult | None:
        """What an earlier run got for the same content."""
        ...

    def record(self, result: SubjectResult) -> None:
        """Write down what became of a subject."""
        ...


@dataclass(frozen=True, slots=True)
class BulkOutcome:
    """What became of a whole run."""

    counts: Mapping[BulkStatus, int]
    pictures_refused: int
    interrupted: bool
    """`stop` was called before everybody had their answer."""
    ended_by: TesseraCallError | None
    """Why the run ended itself: nobody would have been enrolled from there on."""
    duplicates: int = 0
    """People who look like somebody else who is enrolled, whatever became of them."""
    outliers: int = 0
    """Pictures that do not look like their person's others, refused or not."""

    @property
    def everybody_is_enrolled(self) -> bool:
        """Now, or before."""
        return self.nobody_is_refused and not self.counts.get(BulkStatus.NOT_SENT, 0)

    @property
    def nobody_is_refused(self) -> bool:
        """All of those who had their turn are enrolled, or would be sent."""
        return not self.counts.get(BulkStatus.REJECTED, 0) + self.counts.get(BulkStatus.FAILED, 0)


_ENROLLED = (BulkStatus.ENROLLED, BulkStatus.ALREADY)


class BulkEnrolment:
    """One run over a plan.

    Args:
        people: the gallery.
        plan: whom to enrol.
        journal: what earlier runs did.
        collection_id: where; empty: the collection "default".
        duplicate_policy: for people who already are there under another id; None: the collection's.
        outlier_policy: for pictures unlike their person's others; None: the collection's.
        parallel: subjects under way at once.
        patience_s: a subject for whom there is no answer is tried again for so long.
        clock: for the patience.
        pause: how to wait between two tries; returns early when the event is set.
    """

    def __init__(
        self,
        people: People,
        plan: Plan,
        journal: Done,
        *,
        collection_id: str = "",
        duplicate_policy: DuplicatePolicy | None = None,
        outlier_policy: OutlierPolicy | None = None,
        parallel: int = DEFAULT_PARALLEL,
        patience_s: float = DEFAULT_PATIENCE_S,
        clock: Clock | None = None,
        pause: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        self._people = people
        self._plan = plan
        self._journal = journal
        self._collection_id = collection_id
        self._duplicate_policy = duplicate_policy
        self._outlier_policy = outlier_policy
        self._parallel = parallel
        self._patience_s = patience_s
        self._clock = clock or SystemClock()
        self._pause = pause
        self._stopping = threading.Event()
        self._stop_asked = False
        self._given_up = 0
        self._ended_by: TesseraCallError | None = None

    def stop(self) -> None:
        """Begin nobody else; those under way are finished. May be called from a signal handler."""
        self._stop_asked = True
        self._stopping.set()

    def run(self, told: Callable[[SubjectResult], None]) -> BulkOutcome:
        """Enrol everybody who is not yet.

        Args:
            told: is given each result as it comes, on this thread; those who were not sent, at the end.
        """
        return self._each(self._enrol, told)

    def preview(self, told: Callable[[SubjectResult], None]) -> BulkOutcome:
        """Look at every picture and at the journal, and ask nobody else: NOT_SENT are those who would be sent."""
        return self._each(self._preview, told)

    def _each(
        self, task: Callable[[PlannedSubject], SubjectResult], told: Callable[[SubjectResult], None]
    ) -> BulkOutcome:
        counts: Counter[BulkStatus] = Counter()
        refused = duplicates = outliers = 0
        subjects = iter(self._plan.subjects)
        for result in (*self._results(task, subjects), *map(not_sent, subjects)):
            counts[result.status] += 1
            refused += len(result.pictures) - result.accepted
            duplicates += bool(result.duplicates)
            outliers += result.outliers
            told(result)
        unfinished = counts[BulkStatus.FAILED] + counts[BulkStatus.NOT_SENT] > 0
        interrupted = self._stop_asked and unfinished
        return BulkOutcome(counts, refused, interrupted, self._ended_by, duplicates, outliers)

    def _results(
        self, task: Callable[[PlannedSubject], SubjectResult], subjects: Iterator[PlannedSubject]
    ) -> Iterator[SubjectResult]:
        """As they come; never more begun than may be under way."""
        under_way: set[Future[SubjectResult]] = set()
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="enrol") as pool:
            try:
                while True:
                    while len(under_way) < self._parallel and not self._stopping.is_set():
                        subject = next(subjects, None)
                        if subject is None:
                            break
                        under_way.add(pool.submit(task, subject))
                    if not under_way:
                        return
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            finally:
                self._stopping.set()  # whatever ends this, no thread waits for its next try

    # ---- one subject, on a thread of the pool

    def _preview(self, subject: PlannedSubject) -> SubjectResult:
        files, refused = look_at(self._plan.root, subject.pictures)
        request_id = self._request_id(subject, files)
        earlier = self._journal.done(request_id)
        if earlier is not None:
            return replace(earlier, status=BulkStatus.ALREADY)
        status = BulkStatus.NOT_SENT if files else BulkStatus.REJECTED
        return SubjectResult(subject.subject_id, status, refused, "" if files else _NO_PICTURE, request_id)

    def _enrol(self, subject: PlannedSubject) -> SubjectResult:
        files, refused = look_at(self._plan.root, subject.pictures)
        request_id = self._request_id(subject, files)
        earlier = self._journal.done(request_id)
        if earlier is not None:
            return replace(earlier, status=BulkStatus.ALREADY)
        if not files:
            return SubjectResult(subject.subject_id, BulkStatus.REJECTED, refused, _NO_PICTURE, request_id)
        result = self._sent(
            subject, files, SubjectResult(subject.subject_id, BulkStatus.REJECTED, refused, "", request_id)
        )
        if result.status in _ENROLLED:
            self._journal.record(result)
        return result

    def _sent(self, subject: PlannedSubject, files: Sequence[PictureFile], result: SubjectResult) -> SubjectResult:
        """`result` with what the gallery says of these pictures."""
        try:
            there = self._there(subject)
            known = {template.source_sha256 for template in there.templates} if there is not None else set()
            present = tuple(PictureResult(one.name, True, (), _PRESENT) for one in files if one.sha256 in known)
            if present:
                result = replace(
                    result,
                    status=BulkStatus.ALREADY,
                    pictures=result.pictures + present,
                    detail=differences(subject, there),
                )
            for part in requests_of([one for one in files if one.sha256 not in known]):
                result = self._with_part(subject, part, result)
        except TesseraCallError as error:
            return self._failed(error, result)
        return result

    def _there(self, subject: PlannedSubject) -> Subject | None:
        try:
            return self._answered(
                lambda: self._people.get_subject(subject.subject_id, collection_id=self._collection_id)
            )
        except NotFound:
            return None

    def _with_part(self, subject: PlannedSubject, part: Sequence[PictureFile], result: SubjectResult) -> SubjectResult:
        files, images, changed = self._read(part)
        result = replace(result, pictures=result.pictures + changed)
        if not files:
            return result
        try:
            enrolment = self._answered(lambda: self._enroll(subject, files, images))
        except DuplicateSubject as error:
            self._given_up = 0
            return refused_duplicate(result, files, error)
        except (BadInput, InvalidInputError) as error:
            self._given_up = 0
            return rejected(result, files, error)
        self._given_up = 0
        pictures = tuple(
            PictureResult(files[one.index].name, one.accepted, tuple(one.reasons), one.detail)
            for one in enrolment.results
        )
        status = BulkStatus.ALREADY if enrolment.replayed else BulkStatus.ENROLLED
        if result.status is BulkStatus.ENROLLED:
            status = BulkStatus.ENROLLED
        return replace(
            result,
            status=status,
            pictures=result.pictures + pictures,
            detail="",
            duplicates=joined(result.duplicates, [found.subject_id for found in enrolment.duplicates]),
            merged_into=enrolment.subject.subject_id if enrolment.merged else result.merged_into,
        )

    def _read(self, part: Sequence[PictureFile]) -> tuple[list[PictureFile], list[bytes], tuple[PictureResult, ...]]:
        files, images, changed = [], [], []
        for file in part:
            try:
                images.append(read_again(self._plan.root, file))
                files.append(file)
            except PictureRefusedError as error:
                changed.append(error.result)
        return files, images, tuple(changed)

    def _enroll(self, subject: PlannedSubject, files: Sequence[PictureFile], images: Sequence[bytes]) -> Enrolment:
        return self._people.enroll(
            subject.subject_id,
            images,
            collection_id=self._collection_id,
            display_name=subject.display_name,
            external_id=subject.external_id,
            labels=subject.labels,
            consent_reference=subject.consent_reference,
            valid_from=subject.valid_from,
            valid_until=subject.valid_until,
            duplicate_policy=self._duplicate_policy,
            outlier_policy=self._outlier_policy,
            request_id=self._request_id(subject, files),
        )

    def _request_id(self, subject: PlannedSubject, files: Sequence[PictureFile]) -> str:
        return request_id_of(
            subject,
            files,
            self._collection_id,
            duplicate_policy=self._duplicate_policy,
            outlier_policy=self._outlier_policy,
        )

    def _answered(self, call: Callable[[], T]) -> T:
        """What a call answers; one that nobody answers is made again, with the same request id, while there is time."""
        began_s = self._clock.monotonic_s()
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return call()
            except ServiceUnavailable as error:
                if self._clock.monotonic_s() - began_s >= self._patience_s:
                    self._give_up(error)
                    raise
                if self._stopping.is_set():
                    raise
            self._pause(self._stopping, random.uniform(pause_s / 2, pause_s))  # noqa: S311 - spreads tries, hides nothing
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _failed(self, error: TesseraCallError, result: SubjectResult) -> SubjectResult:
        missing = isinstance(error, NotFound) and error.reason == "COLLECTION_NOT_FOUND"
        if missing or isinstance(error, NotAllowedNow | NotBuilt | StoreDamaged):
            self._end_by(error)
        # Erased since its request was answered: the same request will never write again, and must not.
        status = BulkStatus.REJECTED if isinstance(error, NotFound) and not missing else BulkStatus.FAILED
        return replace(result, status=status, detail=error.message)

    def _give_up(self, error: ServiceUnavailable) -> None:
        """One may have its own trouble; several without an enrolment between them are not tried one by one for ever."""
        self._given_up += 1
        if self._given_up >= _GIVEN_UP_IN_A_ROW:
            self._end_by(error)

    def _end_by(self, error: TesseraCallError) -> None:
        self._ended_by = self._ended_by or error
        self._stopping.set()
