"""A gallery for bulk enrolments: in memory, with request ids that it may forget, and with faults that a test orders."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import Enum, auto

from tessera.client.answers import DuplicatePolicy, Enrolment, OutlierPolicy, SampleResult, Subject, Template
from tessera.client.errors import BadInput, NotFound, OutcomeUnknown, ServiceUnavailable, TesseraCallError
from tessera.domain.reasons import Reason

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Fault(Enum):
    """What happens to a call."""

    NONE = auto()
    LOST = auto()
    """It never arrives."""
    UNKNOWN = auto()
    """It is done, and its answer is lost."""


def error(kind: type[TesseraCallError], reason: str, message: str = "", **details: str) -> TesseraCallError:
    """A failed call, as the SDK raises it."""
    return kind(code="", reason=reason, field="", value="", allowed="", message=message or reason, details=details)


class FakeGallery:
    """What `bulk.People` asks for. A picture whose bytes begin with `bad` is too dark to be enrolled."""

    def __init__(self) -> None:
        self.subjects: dict[str, list[str]] = {}
        """The sha256 of each template of each subject, in order; twice enrolled is there twice."""
        self.enrolments: list[str] = []
        """The request id of each call that arrived."""
        self.sent: list[tuple[str, list[bytes]]] = []
        self.fields: dict[str, dict[str, object]] = {}
        self.questions = 0
        self.most_under_way = 0
        self.faults: list[Fault] = []
        self.error: TesseraCallError | None = None
        """Each enrolment is refused with it."""
        self.on_enrolment: Callable[[str], object] = lambda subject_id: None
        self.on_question: Callable[[str], object] = lambda subject_id: None
        self._answers: dict[str, Enrolment] = {}
        self._under_way = 0
        self._lock = threading.Lock()

    def forget_requests(self) -> None:
        """A day passes."""
        self._answers.clear()

    def get_subject(self, subject_id: str, *, collection_id: str = "") -> Subject:
        """One subject."""
        self.on_question(subject_id)
        with self._lock:
            self.questions += 1
            if subject_id not in self.subjects:
                raise error(NotFound, "SUBJECT_NOT_FOUND")
            return self._subject(subject_id)

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
        """Add templates, once for each request id."""
        with self._lock:
            self._under_way += 1
            self.most_under_way = max(self.most_under_way, self._under_way)
        try:
            self.on_enrolment(subject_id)
            with self._lock:
                self.fields[subject_id] = {
                    "collection_id": collection_id,
                    "display_name": display_name,
                    "external_id": external_id,
                    "labels": tuple(labels),
                    "consent_reference": consent_reference,
                    "valid_from": valid_from,
                    "valid_until": valid_until,
                }
                return self._enrolled(subject_id, images, request_id)
        finally:
            with self._lock:
                self._under_way -= 1

    def _enrolled(self, subject_id: str, images: Sequence[bytes], request_id: str) -> Enrolment:
        fault = self.faults.pop(0) if self.faults else Fault.NONE
        self.enrolments.append(request_id)
        self.sent.append((subject_id, list(images)))
        if self.error is not None:
            raise self.error
        if fault is Fault.LOST:
            raise error(ServiceUnavailable, "UNAVAILABLE", "the gallery does not answer")
        if request_id not in self._answers:
            self._answers[request_id] = self._written(subject_id, images, request_id)
            answer = self._answers[request_id]
        else:
            first = self._answers[request_id]
            answer = Enrolment(first.subject, first.results, first.position, replayed=True, request_id=request_id)
        if fault is Fault.UNKNOWN:
            raise error(OutcomeUnknown, "WRITE_OUTCOME_UNKNOWN", "whether this was written is not known")
        return answer

    def _written(self, subject_id: str, images: Sequence[bytes], request_id: str) -> Enrolment:
        dark = [image.startswith(b"bad") for image in images]
        if all(dark):
            each = {f"samples[{at}]": "LOW_BRIGHTNESS,LOW_CONTRAST" for at in range(len(images))}
            raise error(BadInput, "LOW_BRIGHTNESS", "too dark", **each)
        templates = self.subjects.setdefault(subject_id, [])
        results = []
        for at, (image, is_dark) in enumerate(zip(images, dark, strict=True)):
            reasons = (Reason.LOW_BRIGHTNESS,) if is_dark else ()
            results.append(SampleResult(at, not is_dark, reasons, "too dark" if is_dark else "", f"t{at}", None))
            if not is_dark:
                templates.append(hashlib.sha256(image).hexdigest())
        return Enrolment(self._subject(subject_id), tuple(results), 1, replayed=False, request_id=request_id)

    def _subject(self, subject_id: str) -> Subject:
        made = self.subjects[subject_id]
        templates = tuple(Template(f"t{at}", "m@1", NOW, sha256) for at, sha256 in enumerate(made))
        return Subject(subject_id, "default", "", "", (), "", templates, NOW, NOW, len(made))
