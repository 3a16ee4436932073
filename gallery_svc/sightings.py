"""Tracklets in, decisions out: each update is joined to its tracklet, searched, judged, and told when that is news.

A sighting is recorded, with its audit entry, when the tracklet is first decided, when the answer changes, when a zone
is entered, and when the tracklet ends; before the update is answered. The event's id comes from the tracklet's id: a
worker that repeats itself, and a gallery that was restarted in between, tell nothing twice.
"""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gallery_svc.biometrics import Biometrics
from gallery_svc.collections import Collections
from gallery_svc.events import EventLog
from gallery_svc.fencing import Fences
from gallery_svc.gallery_size import size_of
from gallery_svc.ids import sighting_event_id, time_ordered_id
from gallery_svc.index.protocol import Wanted
from gallery_svc.judging import judge_search, search_threshold, valid_at
from gallery_svc.linking import Link, Links
from gallery_svc.live import LiveCollection
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.own_part import Asked
from gallery_svc.persons.placing import Glance, MeanLook, PersonPlacing
from gallery_svc.probes import Deadline
from gallery_svc.replica import Replica
from gallery_svc.scatter import Scatter
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.event_records import NewEvent, PersonOfSighting, SightingBody
from gallery_svc.store.protocol import Store
from gallery_svc.thresholds import Thresholds
from gallery_svc.tracklets import Standing, Tracklets, TrackletState, Verdict, next_standing
from tessera.chassis.clock import Clock
from tessera.chassis.tracing import current_span
from tessera.client.stream_values import TrackletSample, TrackletUpdate
from tessera.domain.decision import Decision, Outcome, inconclusive
from tessera.domain.default_collections import DEFAULT_COLLECTIONS
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import InvalidInputError, ModelMismatchError, NotFoundError
from tessera.domain.ids import CameraId, CollectionId, EventId, SubjectId, TrackletId
from tessera.domain.observation import Quality
from tessera.domain.reasons import Reason

_NO_QUALITY = Quality(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class TrackletAnswer:
    """What a tracklet's update is answered with."""

    tracklet_id: TrackletId
    sequence: int
    revision: int
    decision: Decision
    evidence_id: str
    """Empty while nothing is on record."""
    decided_at: datetime
    subject_id: SubjectId | None
    display_name: str
    event_id: EventId | None
    capture_to_decision_s: float
    link_id: str = ""
    """Of an unknown person; empty otherwise."""
    person: PersonOfSighting | None = None
    """Of a body."""


class Sightings:
    """Decides tracklets.

    Args:
        tracklets: what is remembered of each.
        replica: the collections and their indexes.
        store: asked for what was told of a tracklet before a restart.
        events: where sightings are recorded.
        thresholds: the error rates.
        scatter: searches what is held here, and asks who holds the rest.
        links: link the tracklets of unknown people.
        fences: who may speak for a camera.
        placing: says who bodies are taken for.
        collections: makes a default collection when it is missing.
        clock: for the times of decisions.
        metrics: where it counts.
        biometrics: counts what decisions rest on.
        time_to_live_s: so long after its newest capture nothing may be done because of a sighting.
        search_limit_s: a search that has to wait longer for its turn is given up.
    """

    def __init__(
        self,
        *,
        tracklets: Tracklets,
        replica: Replica,
        store: Store,
        events: EventLog,
        thresholds: Thresholds,
        scatter: Scatter,
        fences: Fences,
        links: Links,
        placing: PersonPlacing,
        collections: Collections,
        clock: Clock,
        metrics: GalleryMetrics,
        biometrics: Biometrics,
        time_to_live_s: float,
        search_limit_s: float,
    ) -> None:
        self._tracklets = tracklets
        self._replica = replica
        self._store = store
        self._events = events
        self._thresholds = thresholds
        self._scatter = scatter
        self._fences = fences
        self._links = links
        self._placing = placing
        self._collections = collections
        self._clock = clock
        self._metrics = metrics
        self._biometrics = biometrics
        self._time_to_live_s = time_to_live_s
        self._search_limit_s = search_limit_s
        # One update of a tracklet at a time, also when a worker came back on a new stream.
        self._locks: weakref.WeakValueDictionary[TrackletId, asyncio.Lock] = weakref.WeakValueDictionary()

    async def update(self, update: TrackletUpdate) -> TrackletAnswer:
        """Take one update and answer it.

        Raises:
            NotFoundError: the collection does not exist.
            InvalidInputError: the update cannot be used.
            LeaseSupersededError: another worker watches the camera by now.
            ModelMismatchError: a sample is of another model than the collection.
            NoCalibrationError: the collection's model has no calibration.
            UnavailableError: the store is away; the update was not taken and may be sent again.
            OverloadedError: too many searches wait; the same.
            ExpiredError: the search did not get its turn in time; the same.
        """
        _check(update)
        self._fences.require(update.camera_id, update.lease_token)
        lock = self._locks.setdefault(update.tracklet_id, asyncio.Lock())
        async with lock:
            return await self._update(update)

    async def _update(self, update: TrackletUpdate) -> TrackletAnswer:
        live = await self._collection(update)
        self._check_samples(update, live)
        before = self._tracklets.find(update.tracklet_id) or await self._restored(update)
        if update.sequence <= before.sequence and before.standing is not None:
            self._metrics.updates.labels("repeated").inc()
            return self._answer(update, before, before.standing, live, "")
        for sample in update.samples:
            self._biometrics.seen(live.record.model_id, update.camera_id, sample.quality)
        state = (await self._without_erased(before, live)).with_samples(update)
        standing, name = state.standing, ""
        if update.samples or standing is None or standing is not before.standing:
            standing, name = await self._decide(state, live, update.camera_id)
        state = replace(state, standing=standing, ended=update.ended)
        evidence_id = ""
        if live.record.modality is Modality.PERSON:
            state = replace(state, person=await self._placed(update, state, standing, live))
            if update.ended:
                state = replace(state, person=await self._rejudged(update, state, live))
        if _is_news(before, state, standing, update):
            if live.record.modality is not Modality.PERSON:
                state = replace(state, link=self._linked(update, state, standing, live))
            evidence_id = await self._tell(update, state, standing)
            state = replace(state, event_id=sighting_event_id(update.tracklet_id), told_zones=update.zones)
        self._tracklets.keep(update.tracklet_id, state)
        self._metrics.updates.labels("taken").inc()
        answer = self._answer(update, state, standing, live, evidence_id)
        return answer if answer.display_name else replace(answer, display_name=name)

    async def _decide(self, state: TrackletState, live: LiveCollection, camera_id: CameraId) -> tuple[Standing, str]:
        """What is decided now, and the name of who was recognised, as far as this search told it."""
        best = None
        threshold = search_threshold(self._thresholds, live.record, size_of(live), camera_id=camera_id)
        is_empty = isinstance(threshold, Decision) and threshold.reasons == (Reason.EMPTY_COLLECTION,)
        if isinstance(threshold, Decision) and is_empty and live.record.modality is Modality.PERSON:
            decision = _of_nobody(threshold, state, live.record.policy_for(camera_id).min_tracklet_frames)
        elif isinstance(threshold, Decision):
            decision = threshold
        elif state.usable_samples < live.record.policy_for(camera_id).min_tracklet_frames:
            decision = inconclusive(Reason.TOO_FEW_FRAMES, model_id=live.record.model_id, threshold=threshold)
        else:
            wanted = Wanted(camera_id=camera_id, at=valid_at(self._clock))
            until = Deadline(self._clock, self._search_limit_s)
            # Who is recognised by a part of the gallery is recognised; that the others are away makes nobody unknown.
            found = await self._scatter.search(live, Asked((state.probe(),), 1, wanted), until, allow_partial=True)
            weak = () if found.coverage.complete else (Reason.PARTIAL_GALLERY,)
            decision = judge_search(found.hits[0], threshold, (*state.weaknesses(), *weak))
            best = found.hits[0][0] if decision.outcome is Outcome.MATCH else None
        verdict = Verdict(decision.outcome, best.subject_id if best else None)
        self._biometrics.decided("tracklet", decision, camera_id, best.template_id if best else None)
        return next_standing(state.standing, verdict, decision), best.display_name if best else ""

    def _linked(
        self, update: TrackletUpdate, state: TrackletState, standing: Standing, live: LiveCollection
    ) -> Link | None:
        """Of whom it is told that nobody knows him: who else it is."""
        if standing.verdict.outcome is not Outcome.UNKNOWN:
            self._links.forget(update.tracklet_id)
            return None
        if not state.samples:  # of a tracklet that was decided before a restart
            return state.link
        policy = live.record.policy_for(update.camera_id)
        return self._links.link(update, state.probe(), allow_extrapolation=policy.allow_extrapolation)

    async def _collection(self, update: TrackletUpdate) -> LiveCollection:
        try:
            return await self._replica.collection(update.collection_id)
        except NotFoundError:
            if update.collection_id != DEFAULT_COLLECTIONS[Modality.PERSON]:
                raise
            await self._collections.ensure_default(update.collection_id)  # as the first enrolment makes others
            return await self._replica.collection(update.collection_id)

    async def _placed(
        self, update: TrackletUpdate, state: TrackletState, standing: Standing, live: LiveCollection
    ) -> PersonOfSighting | None:
        """Who a body is taken for; looks too poor to tell anybody apart are of nobody."""
        if standing.verdict.outcome is Outcome.INCONCLUSIVE:
            return state.person
        best = state.samples[0] if state.samples else None
        mean = MeanLook.of(state.samples) if update.samples or (update.ended and best is not None) else None
        return await self._placing.place(
            Glance(update, mean, best.box if best else update.box), state.person, live.record
        )

    async def _rejudged(
        self, update: TrackletUpdate, state: TrackletState, live: LiveCollection
    ) -> PersonOfSighting | None:
        """Who a body is taken for now that it has passed; others that are somebody else after all are told anew."""
        own = state.person
        for look, person in await self._placing.rejudge(live.record):
            if look.tracklet_id == update.tracklet_id:
                own = person
            else:
                await self._tell_anew(look.tracklet_id, person)
        return own

    async def _tell_anew(self, tracklet_id: TrackletId, person: PersonOfSighting) -> None:
        record = await self._store.find_event(sighting_event_id(tracklet_id))
        if record is None or not isinstance(body := record.event.body, SightingBody):
            return
        told = replace(record.event, body=replace(body, person=person), recorded_at=self._clock.now())
        key = f"rejudged {person.person_id} after {record.sequence}"
        await self._events.record(replace(told, content_key=key), None)

    async def _without_erased(self, state: TrackletState, live: LiveCollection) -> TrackletState:
        """The state without a verdict that names somebody who was erased since: it is judged anew, never told again."""
        told = state.standing
        if told is None or told.verdict.subject_id is None or await self._is_there(live, told.verdict.subject_id):
            return state
        decision = inconclusive(Reason.NO_TEMPLATE, model_id=live.record.model_id)
        return replace(state, standing=Standing(Verdict(Outcome.INCONCLUSIVE), decision, told.revision + 1))

    async def _is_there(self, live: LiveCollection, subject_id: SubjectId) -> bool:
        known = await self._scatter.knows(live, subject_id)
        if known is not None:
            return known
        return await self._store.find_subject(live.record.collection_id, subject_id) is not None

    async def _restored(self, update: TrackletUpdate) -> TrackletState:
        """What was told of a tracklet that this process does not know: after a restart its revision must go on."""
        if update.sequence <= 1:
            return TrackletState()
        event_id = sighting_event_id(update.tracklet_id)
        record = await self._store.find_event(event_id)
        if record is None or not isinstance(record.event.body, SightingBody):
            return TrackletState()
        body = record.event.body
        decision = Decision(body.outcome, body.reasons, body.threshold, None, body.model_id)
        standing = Standing(Verdict(body.outcome, body.subject_id), decision, body.decision_revision)
        link = Link(body.link_id, body.link_until) if body.link_until is not None else None
        return TrackletState(standing=standing, event_id=event_id, told_zones=body.zones, link=link, person=body.person)

    async def _tell(self, update: TrackletUpdate, state: TrackletState, standing: Standing) -> str:
        """Record a sighting; returns the evidence id on record, which is the first one when it was told before."""
        now = self._clock.now()
        evidence_id = time_ordered_id("ev", now)
        newest = state.newest_capture or update.last_seen
        best = state.samples[0] if state.samples else None
        body = SightingBody(
            tracklet_id=update.tracklet_id,
            collection_id=update.collection_id,
            modality=update.modality,
            outcome=standing.verdict.outcome,
            reasons=standing.decision.reasons,
            threshold=standing.decision.threshold,
            model_id=standing.decision.model_id,
            evidence_id=evidence_id,
            decided_at=now,
            decision_revision=standing.revision,
            subject_id=standing.verdict.subject_id,
            first_seen=update.first_seen,
            last_seen=update.last_seen,
            frame_count=update.frame_count,
            box=best.box if best else update.box,
            quality=best.quality if best else _NO_QUALITY,
            ended=update.ended,
            capture_to_decision_s=max(0.0, (now - newest).total_seconds()),
            best_shot_id=update.best_shot_id,
            clip_id=update.clip_id,
            zones=update.zones,
            link_id=state.link.link_id if state.link is not None else "",
            link_until=state.link.until if state.link is not None else None,
            labels=await self._labels_of(update.collection_id, standing.verdict.subject_id),
            person=state.person,
        )
        zones = ",".join(body.zones)
        event = NewEvent(
            event_id=sighting_event_id(update.tracklet_id),
            camera_id=update.camera_id,
            event_time=newest,
            recorded_at=now,
            valid_until=min(newest, now) + timedelta(seconds=self._time_to_live_s),
            body=body,
            content_key=f"{standing.revision}/{body.outcome}/{body.subject_id or ''}/{body.ended}/{zones}"
            + _told_of(state),
            traceparent=current_span().traceparent() or "",
        )
        audit = AuditRecord(
            method="MatchStream",
            at=now,
            evidence_id=evidence_id,
            caller=update.camera_id,
            collection_id=update.collection_id,
            subject_id=body.subject_id,
            request_id=f"{update.tracklet_id}/{update.sequence}",
            outcome=body.outcome,
            threshold=body.threshold,
        )
        recorded = (await self._events.record(event, audit)).event.body
        return recorded.evidence_id if isinstance(recorded, SightingBody) else evidence_id

    async def _labels_of(self, collection_id: CollectionId, subject_id: SubjectId | None) -> tuple[str, ...]:
        """What alert rules judge by; as the store has them, since another gallery may hold the subject's shard."""
        subject = await self._store.find_subject(collection_id, subject_id) if subject_id is not None else None
        return subject.profile.labels if subject is not None else ()

    def _answer(
        self, update: TrackletUpdate, state: TrackletState, standing: Standing, live: LiveCollection, evidence_id: str
    ) -> TrackletAnswer:
        now = self._clock.now()
        subject_id = standing.verdict.subject_id
        newest = state.newest_capture or update.last_seen
        return TrackletAnswer(
            tracklet_id=update.tracklet_id,
            sequence=update.sequence,
            revision=standing.revision,
            decision=standing.decision,
            evidence_id=evidence_id,
            decided_at=now,
            subject_id=subject_id,
            display_name=live.index.name_of(subject_id) if subject_id else "",
            event_id=state.event_id,
            capture_to_decision_s=max(0.0, (now - newest).total_seconds()),
            link_id=state.link.link_id if state.link is not None else "",
            person=state.person,
        )

    def _check_samples(self, update: TrackletUpdate, live: LiveCollection) -> None:
        for at, sample in enumerate(update.samples):
            self._check_embedding(sample, live, f"samples[{at}]")

    def _check_embedding(self, sample: TrackletSample, live: LiveCollection, field: str) -> None:
        embedding: Embedding = sample.embedding
        if embedding.model_id != live.record.model_id:
            raise ModelMismatchError(live.record.model_id, embedding.model_id)
        self._thresholds.require_dimensions(embedding, field)


def _of_nobody(threshold: Decision, state: TrackletState, least_frames: int) -> Decision:
    """What is decided of a body where no person is enrolled, which is how it should be: nobody who is."""
    if state.usable_samples < least_frames:
        return replace(threshold, reasons=(Reason.TOO_FEW_FRAMES,))
    weak = state.weaknesses()
    return replace(threshold, outcome=Outcome.INCONCLUSIVE if weak else Outcome.UNKNOWN, reasons=weak)


def _told_of(state: TrackletState) -> str:
    """What an event tells of a body beyond its decision."""
    if state.person is None:
        return ""
    name = state.person.name
    return f"/{state.person.person_id}" + (f"/{name.basis}/{name.subject_id}" if name is not None else "")


def _is_news(before: TrackletState, state: TrackletState, after: Standing, update: TrackletUpdate) -> bool:
    if update.ended:
        return True
    if after.verdict.outcome is Outcome.INCONCLUSIVE:
        return False
    if _told_of(before) != _told_of(state):
        return True
    is_elsewhere = not set(update.zones) <= set(before.told_zones)  # an alert may hang on it
    return before.standing is None or before.standing.verdict != after.verdict or is_elsewhere


def _check(update: TrackletUpdate) -> None:
    if update.sequence < 1:
        raise InvalidInputError("sequence", update.sequence, "1 or more")
    if len(update.samples) > 64:
        raise InvalidInputError("samples", f"{len(update.samples)} samples", "at most 64 an update")
