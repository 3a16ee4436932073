"""`GalleryService`: each method translates, delegates, translates back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from gallery_svc import (
    audit_wire,
    calibration_wire,
    collection_wire,
    erasure_wire,
    event_wire,
    explanation_wire,
    joint_wire,
    subject_wire,
    wire,
)
from gallery_svc.alert_wire import NameOf
from gallery_svc.audit_query import AuditQuery
from gallery_svc.calibrations import Calibrations
from gallery_svc.collections import Collections
from gallery_svc.correcting import Corrector
from gallery_svc.enrolment import Enroller
from gallery_svc.erasing import Eraser
from gallery_svc.explaining import MatchExplainer
from gallery_svc.joint_verifying import JointVerifier
from gallery_svc.matching import Matcher
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.probes import Deadline
from gallery_svc.recording import Attempt
from gallery_svc.sightings import Sightings
from gallery_svc.subjects import Subjects
from tessera.chassis.clock import Clock
from tessera.chassis.tracing import Tracing
from tessera.client import wire as client_wire
from tessera.domain.errors import (
    ExpiredError,
    InvalidInputError,
    NotBuiltError,
    OutcomeUnknownError,
    OverloadedError,
    TesseraError,
    UnavailableError,
)
from tessera.domain.ids import CalibrationId, ModelId, checked_id
from tessera.v1 import (
    audit_pb2,
    calibration_pb2,
    collection_pb2,
    gallery_pb2_grpc,
    matching_pb2,
    subject_pb2,
)

Context = grpc.aio.ServicerContext[Any, Any]
Part = TypeVar("Part")

MAX_IN_FLIGHT = 8
"""Updates of a worker that may be under way: they are answered in order, so that more would only wait."""


@dataclass(frozen=True, slots=True)
class LaterParts:
    """Methods whose parts come with their own messages: each takes a request and who asks. None: NOT_BUILT."""

    export: (
        Callable[[audit_pb2.ExportCollectionRequest, str], AsyncIterator[audit_pb2.ExportCollectionResponse]] | None
    ) = None
    import_: (
        Callable[[AsyncIterator[audit_pb2.ImportCollectionRequest], str], Awaitable[audit_pb2.ImportCollectionResponse]]
        | None
    ) = None
    reembed: Callable[[audit_pb2.ReembedRequest, str], AsyncIterator[audit_pb2.ReembedResponse]] | None = None
    rotate_keys: Callable[[audit_pb2.RotateKeysRequest, str], AsyncIterator[audit_pb2.RotateKeysResponse]] | None = None


@dataclass(frozen=True, slots=True)
class GalleryParts:
    """What the gallery's methods delegate to."""

    collections: Collections
    subjects: Subjects
    eraser: Eraser
    audit: AuditQuery
    enroller: Enroller
    corrector: Corrector
    calibrations: Calibrations
    matcher: Matcher
    joint: JointVerifier
    explainer: MatchExplainer
    sightings: Sightings
    name_of: NameOf
    """By which subjects are called now."""
    metrics: GalleryMetrics
    clock: Clock
    max_deadline_s: float
    explain_deadline_s: float
    """Instead of it, where a score is explained."""
    closing: asyncio.Event
    """Set when the service goes down: streams end."""
    later: LaterParts = LaterParts()


class GalleryServicer(gallery_pb2_grpc.GalleryServiceServicer):
    """Subjects, their templates, and every comparison with them.

    Args:
        parts: what the methods delegate to.
        tracing: makes a span for each update of a tracklet; none by default.
    """

    def __init__(self, parts: GalleryParts, tracing: Tracing | None = None) -> None:
        self._parts = parts
        self._tracing = tracing or Tracing()

    # ---- collections

    async def CreateCollection(
        self, request: collection_pb2.CreateCollectionRequest, context: Context
    ) -> collection_pb2.CreateCollectionResponse:
        """Make a collection."""
        view = await self._parts.collections.create(collection_wire.collection_from_wire(request))
        return collection_pb2.CreateCollectionResponse(collection=collection_wire.collection_to_wire(view))

    async def GetCollection(
        self, request: collection_pb2.GetCollectionRequest, context: Context
    ) -> collection_pb2.GetCollectionResponse:
        """One collection."""
        view = await self._parts.collections.get(wire.collection_id_from(request.collection_id))
        return collection_pb2.GetCollectionResponse(collection=collection_wire.collection_to_wire(view))

    async def ListCollections(
        self, request: collection_pb2.ListCollectionsRequest, context: Context
    ) -> collection_pb2.ListCollectionsResponse:
        """Collections by id."""
        size = wire.page_size_from(request.page_size)
        views, next_after = await self._parts.collections.list(wire.id_from_token(request.page_token), size)
        return collection_pb2.ListCollectionsResponse(
            collections=[collection_wire.collection_to_wire(view) for view in views], next_page_token=next_after
        )

    async def UpdateCollection(
        self, request: collection_pb2.UpdateCollectionRequest, context: Context
    ) -> collection_pb2.UpdateCollectionResponse:
        """Change what is said of a collection, or the rates that it decides at."""
        collection_id = wire.collection_id_from(request.collection.collection_id)
        modality = (await self._parts.collections.get(collection_id)).record.modality  # it never changes
        change = collection_wire.collection_change(request, modality, context.peer())
        view = await self._parts.collections.update(change)
        return collection_pb2.UpdateCollectionResponse(collection=collection_wire.collection_to_wire(view))

    async def DeleteCollection(
        self, request: collection_pb2.DeleteCollectionRequest, context: Context
    ) -> collection_pb2.DeleteCollectionResponse:
        """Delete a collection."""
        collection_id = wire.collection_id_from(checked_id("collection_id", request.collection_id))
        deleted = await self._parts.collections.delete(collection_id, context.peer(), force=request.force)
        return collection_pb2.DeleteCollectionResponse(subjects_deleted=deleted)

    # ---- subjects

    async def EnrollSubject(
        self, request: subject_pb2.EnrollSubjectRequest, context: Context
    ) -> subject_pb2.EnrollSubjectResponse:
        """Add templates to a subject, and the subject itself when it is new."""
        wanted = subject_wire.enrolment_request(request, context.peer())
        return subject_wire.enrolment_response(await self._parts.enroller.enroll(wanted, self._deadline(context)))

    async def GetSubject(
        self, request: subject_pb2.GetSubjectRequest, context: Context
    ) -> subject_pb2.GetSubjectResponse:
        """One subject."""
        subject = await self._parts.subjects.get(
            wire.collection_id_from(request.collection_id), wire.subject_id_from(request.subject_id)
        )
        return subject_pb2.GetSubjectResponse(subject=subject_wire.subject_to_wire(subject))

    async def ListSubjects(
        self, request: subject_pb2.ListSubjectsRequest, context: Context
    ) -> subject_pb2.ListSubjectsResponse:
        """Subjects by id."""
        page = await self._parts.subjects.list(
            wire.collection_id_from(request.collection_id),
            wire.id_from_token(request.page_token),
            wire.page_size_from(request.page_size),
            subject_wire.subject_filter(request),
        )
        return subject_wire.subjects_response(page)

    async def UpdateSubject(
        self, request: subject_pb2.UpdateSubjectRequest, context: Context
    ) -> subject_pb2.UpdateSubjectResponse:
        """Change what is said of a subject."""
        change = subject_wire.subject_change(request, context.peer())
        changed = await self._parts.subjects.update(change, self._deadline(context))
        return subject_pb2.UpdateSubjectResponse(
            subject=subject_wire.subject_to_wire(changed.subject), position=changed.position.wire
        )

    async def DeleteSubject(
        self, request: subject_pb2.DeleteSubjectRequest, context: Context
    ) -> subject_pb2.DeleteSubjectResponse:
        """Erase a subject with everything of it."""
        wanted = erasure_wire.erasure_request(request, context.peer())
        return erasure_wire.deletion_response(await self._parts.eraser.erase(wanted, self._deadline(context)))

    async def DeleteTemplate(
        self, request: subject_pb2.DeleteTemplateRequest, context: Context
    ) -> subject_pb2.DeleteTemplateResponse:
        """Remove one template of a subject."""
        choice = subject_wire.template_choice(request, context.peer())
        changed = await self._parts.subjects.delete_template(choice, self._deadline(context))
        return subject_pb2.DeleteTemplateResponse(
            subject=subject_wire.subject_to_wire(changed.subject), position=changed.position.wire
        )

    async def GetErasureReceipt(
        self, request: subject_pb2.GetErasureReceiptRequest, context: Context
    ) -> subject_pb2.GetErasureReceiptResponse:
        """How far an erasure is."""
        collection_id, receipt_id = erasure_wire.receipt_question(request)
        return erasure_wire.receipt_response(await self._parts.eraser.receipt(collection_id, receipt_id))

    async def CorrectSubject(
        self, request: subject_pb2.CorrectSubjectRequest, context: Context
    ) -> subject_pb2.CorrectSubjectResponse:
        """Not this person, or this person after all."""
        wanted = subject_wire.correction_request(request, context.peer())
        return subject_wire.correction_response(await self._parts.corrector.correct(wanted, self._deadline(context)))

    # ---- comparisons

    async def Verify(self, request: matching_pb2.VerifyRequest, context: Context) -> matching_pb2.VerifyResponse:
        """Is this the person who is enrolled as `subject_id`?"""
        question = wire.verify_question(request)
        attempt = wire.attempt_from("Verify", request, context.peer(), question.collection_id)
        answer = await self._parts.matcher.verify(question, attempt, self._deadline(context))
        return wire.verify_response(answer, with_score=request.with_score)

    async def VerifyJointly(
        self, request: matching_pb2.VerifyJointlyRequest, context: Context
    ) -> matching_pb2.VerifyJointlyResponse:
        """Is this the person, by several modalities together?"""
        question, attempt = joint_wire.joint_question(request), joint_wire.joint_attempt(request, context.peer())
        answer = await self._parts.joint.verify(question, attempt, self._deadline(context))
        return joint_wire.joint_response(answer, with_score=request.with_score)

    async def Identify(self, request: matching_pb2.IdentifyRequest, context: Context) -> matching_pb2.IdentifyResponse:
        """Who is this, if anybody?"""
        question = wire.identify_question(request)
        attempt = wire.attempt_from("Identify", request, context.peer(), question.collection_id)
        answer = await self._parts.matcher.identify(question, attempt, self._deadline(context))
        return wire.identify_response(answer, with_score=request.with_score)

    async def Compare(self, request: matching_pb2.CompareRequest, context: Context) -> matching_pb2.CompareResponse:
        """Are these two the same person?"""
        question = wire.compare_question(request)
        answer = await self._parts.matcher.compare(
            question, Attempt("Compare", context.peer()), self._deadline(context)
        )
        return wire.compare_response(answer, with_score=request.with_score)

    async def ExplainMatch(
        self, request: matching_pb2.ExplainMatchRequest, context: Context
    ) -> matching_pb2.ExplainMatchResponse:
        """What in a picture makes it look like, or unlike, the subject?"""
        question = explanation_wire.explain_question(request)
        attempt = explanation_wire.explain_attempt(request, context.peer())
        deadline = self._deadline(context, self._parts.explain_deadline_s)
        return explanation_wire.explain_response(await self._parts.explainer.explain(question, attempt, deadline))

    async def MatchStream(
        self, request_iterator: AsyncIterator[matching_pb2.MatchStreamRequest], context: Context
    ) -> AsyncIterator[matching_pb2.MatchStreamResponse]:
        """Tracklets in, decisions out, in order."""
        async with contextlib.aclosing(_until(self._parts.closing, request_iterator)) as requests:
            first = await anext(requests, None)
            if first is None or first.WhichOneof("message") != "open":
                raise InvalidInputError("message", "an update, or nothing", "open, as the first message")
            yield matching_pb2.MatchStreamResponse(opened=matching_pb2.MatchStreamOpened(max_in_flight=MAX_IN_FLIGHT))
            async for request in requests:
                if request.WhichOneof("message") != "update":
                    raise InvalidInputError("message", request.WhichOneof("message"), "update, after the first message")
                with self._tracing.frame("tracklet", request.update.traceparent or None):
                    answer = await self._answered(request.update)
                yield answer

    async def _answered(self, message: matching_pb2.TrackletUpdate) -> matching_pb2.MatchStreamResponse:
        try:
            update = event_wire.update_from_wire(message)
            return event_wire.answer_to_wire(await self._parts.sightings.update(update), self._parts.name_of)
        except (UnavailableError, OutcomeUnknownError, OverloadedError, ExpiredError):
            raise  # the update was not taken: the stream ends, and its worker sends it again
        except TesseraError as error:
            self._parts.metrics.updates.labels("rejected").inc()
            return event_wire.rejection_to_wire(message, error)

    # ---- thresholds

    async def Calibrate(
        self, request: calibration_pb2.CalibrateRequest, context: Context
    ) -> calibration_pb2.CalibrateResponse:
        """Fit a calibration and keep it."""
        kept, replayed = await self._parts.calibrations.fit(calibration_wire.fit_order(request, context.peer()))
        return calibration_pb2.CalibrateResponse(
            calibration=calibration_wire.calibration_to_wire(kept), replayed=replayed
        )

    async def GetCalibration(
        self, request: calibration_pb2.GetCalibrationRequest, context: Context
    ) -> calibration_pb2.GetCalibrationResponse:
        """The calibration that decides for a model, or the one of an id."""
        kept = await self._parts.calibrations.find(
            model_id=ModelId(request.model_id) if request.model_id else None,
            calibration_id=CalibrationId(request.calibration_id) if request.calibration_id else None,
            impostors=client_wire.impostors_from_wire(request.impostors),
        )
        return calibration_pb2.GetCalibrationResponse(calibration=calibration_wire.calibration_to_wire(kept))

    async def ListCalibrations(
        self, request: calibration_pb2.ListCalibrationsRequest, context: Context
    ) -> calibration_pb2.ListCalibrationsResponse:
        """The shipped ones and those that were fitted here."""
        kept = await self._parts.calibrations.list(ModelId(request.model_id) if request.model_id else None)
        return calibration_pb2.ListCalibrationsResponse(
            calibrations=[calibration_wire.calibration_to_wire(one) for one in kept]
        )

    async def ActivateCalibration(
        self, request: calibration_pb2.ActivateCalibrationRequest, context: Context
    ) -> calibration_pb2.ActivateCalibrationResponse:
        """Have a calibration decide from now on."""
        order = calibration_wire.activation_order(request, context.peer())
        kept, previous = await self._parts.calibrations.activate(order)
        return calibration_pb2.ActivateCalibrationResponse(
            calibration=calibration_wire.calibration_to_wire(kept), previous_calibration_id=previous
        )

    # ---- the collection as a whole

    async def ExportCollection(
        self, request: audit_pb2.ExportCollectionRequest, context: Context
    ) -> AsyncIterator[audit_pb2.ExportCollectionResponse]:
        """The collection as a sealed file."""
        async for response in _built(self._parts.later.export, "ExportCollection")(request, context.peer()):
            yield response

    async def ImportCollection(
        self, request_iterator: AsyncIterator[audit_pb2.ImportCollectionRequest], context: Context
    ) -> audit_pb2.ImportCollectionResponse:
        """A sealed file into a collection."""
        return await _built(self._parts.later.import_, "ImportCollection")(request_iterator, context.peer())

    async def Reembed(
        self, request: audit_pb2.ReembedRequest, context: Context
    ) -> AsyncIterator[audit_pb2.ReembedResponse]:
        """One step on the way to another encoder."""
        async for response in _built(self._parts.later.reembed, "Reembed")(request, context.peer()):
            yield response

    async def QueryAudit(self, request: audit_pb2.QueryAuditRequest, context: Context) -> audit_pb2.QueryAuditResponse:
        """Who asked what."""
        question, size = audit_wire.audit_question(request), wire.page_size_from(request.page_size)
        return audit_wire.audit_response(await self._parts.audit.page(question, request.page_token, size))

    async def RotateKeys(
        self, request: audit_pb2.RotateKeysRequest, context: Context
    ) -> AsyncIterator[audit_pb2.RotateKeysResponse]:
        """Every sealed value under the first key."""
        async for response in _built(self._parts.later.rotate_keys, "RotateKeys")(request, context.peer()):
            yield response

    def _deadline(self, context: Context, limit_s: float | None = None) -> Deadline:
        remaining_s = context.time_remaining()
        limit_s = limit_s or self._parts.max_deadline_s
        return Deadline(self._parts.clock, limit_s if remaining_s is None else min(remaining_s, limit_s))


def _built(part: Part | None, method: str) -> Part:
    if part is None:
        raise NotBuiltError(method)
    return part


async def _until(
    closing: asyncio.Event, requests: AsyncIterator[matching_pb2.MatchStreamRequest]
) -> AsyncGenerator[matching_pb2.MatchStreamRequest, None]:
    """Requests as they come, until the service goes down."""
    closed = asyncio.ensure_future(closing.wait())
    coming: asyncio.Future[matching_pb2.MatchStreamRequest | None] = closed.get_loop().create_future()
    try:
        while True:
            coming = asyncio.ensure_future(anext(requests, None))
            await asyncio.wait((coming, closed), return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                raise UnavailableError("gallery", "it goes down")
            request = coming.result()
            if request is None:
                return
            yield request
    finally:
        coming.cancel()
        closed.cancel()
