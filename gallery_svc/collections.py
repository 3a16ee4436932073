"""Collections: made with a model and error rates that can be kept, listed, and deleted only when that is meant."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta

from gallery_svc.ids import time_ordered_id
from gallery_svc.persons.keeping import LEAST_S, LONGEST_PERSISTENT_S, bound_s
from gallery_svc.replica import Replica
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import (
    DEFAULT_PERSON_RETENTION_S,
    CollectionHead,
    CollectionRecord,
    GateRecord,
    PolicyRecord,
)
from gallery_svc.store.protocol import Store, audit_log
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.default_collections import DEFAULT_COLLECTIONS
from tessera.domain.embedding import Modality
from tessera.domain.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    PreconditionError,
    RequestIdReusedError,
    RevisionChangedError,
    UnavailableError,
)
from tessera.domain.ids import CollectionId, ModelId, SubjectId, checked_id

DEFAULT_COLLECTION = DEFAULT_COLLECTIONS[Modality.FACE]
_MADE_WHEN_MISSING = {collection_id: modality for modality, collection_id in DEFAULT_COLLECTIONS.items()}
CHANGEABLE = frozenset(
    {
        "display_name",
        "policy",
        "gate",
        "labels",
        "keep_source_images",
        "duplicate_policy",
        "outlier_policy",
        "retention_s",
        "camera_policies",
        "allow_persistent_persons",
        "person_retention_s",
    }
)
"""Fields of a collection's record that its callers may change later."""

MIN_RETENTION_S = 3600.0
MAX_RETENTION_S = 100 * 366 * 24 * 3600.0
MAX_CAMERA_POLICIES = 256

_MAX_NAME_CHARACTERS = 256
_PERSONS_AT_ONCE = 200
_WRITES = 5
"""Tries to write a record that others write at the same moment."""


@dataclass(frozen=True, slots=True)
class CollectionChange:
    """What a caller wants changed of a collection."""

    collection_id: CollectionId
    fields: frozenset[str]
    """Of CHANGEABLE."""
    wanted: CollectionRecord
    """Has the new values of these fields."""
    expected_revision: int = 0
    """The revision that the caller has seen; 0: whatever it is."""
    caller: str = ""


@dataclass(frozen=True, slots=True)
class CollectionView:
    """A collection and its counts."""

    record: CollectionRecord
    head: CollectionHead


class Collections:
    """The collections of this deployment.

    Args:
        store: where they are kept.
        replica: what must forget a collection that goes.
        thresholds: which models can decide.
        clock: for the times of records.
        shards: parts of a collection whose creator does not say.
    """

    def __init__(self, store: Store, replica: Replica, thresholds: Thresholds, clock: Clock, shards: int = 1) -> None:
        self._store = store
        self._replica = replica
        self._thresholds = thresholds
        self._clock = clock
        self._shards = shards

    async def ensure_default(self, collection_id: CollectionId = DEFAULT_COLLECTION) -> None:
        """Make one of `DEFAULT_COLLECTIONS` when it is missing: with the default encoder, at the default rates.

        Raises:
            NotFoundError: it is none of them.
            InvalidInputError: its modality has no encoder.
        """
        modality = _MADE_WHEN_MISSING.get(collection_id)
        if modality is None:
            raise NotFoundError("collection", collection_id)
        model_id = self._thresholds.default_model(modality)
        policy, now = PolicyRecord.usual(modality), self._clock.now()
        record = CollectionRecord(collection_id, modality, model_id, now, policy=policy, shards=self._shards)
        try:
            await self._store.create_collection(record)
        except AlreadyExistsError:
            return
        get_logger().info("collection.created", collection=collection_id, model=model_id)

    async def create(self, wanted: CollectionRecord) -> CollectionView:
        """Make a collection.

        Args:
            wanted: its record; an empty model id stands for the modality's default encoder, 0 shards for the
                number that the settings have.

        Raises:
            AlreadyExistsError: there is one of that id, and this is no retry.
            RequestIdReusedError: the request id made the collection, with other content.
            InvalidInputError: a rate, a gate or a name that is not allowed, or a modality without an encoder.
            NoCalibrationError: the model has none: nothing could be decided.
            CalibrationTooSmallError: the calibration cannot carry the policy's rates.
        """
        model_id = wanted.model_id or self._thresholds.default_model(wanted.modality)
        shards = wanted.shards or self._shards
        record = replace(wanted, model_id=model_id, created_at=self._clock.now(), shards=shards)
        self._check(record)
        try:
            await self._store.create_collection(record)
        except AlreadyExistsError:
            await self._settle_retry(record)
        else:
            get_logger().info("collection.created", collection=record.collection_id, model=model_id)
        return await self.get(record.collection_id)

    async def get(self, collection_id: CollectionId) -> CollectionView:
        """A collection and its counts.

        Raises:
            NotFoundError: it does not exist.
        """
        record = await self._store.find_collection(collection_id)
        head = (await self._store.heads([collection_id])).get(collection_id)
        if record is None or head is None:
            raise NotFoundError("collection", collection_id)
        return CollectionView(record, head)

    async def list(self, after: str, limit: int) -> tuple[tuple[CollectionView, ...], str]:
        """Collections by id.

        Returns:
            (views, next_after): empty when this was the last page.
        """
        records = [record for record in await self._store.list_collections() if record.collection_id > after]
        page = records[:limit]
        heads = await self._store.heads([record.collection_id for record in page])
        views = tuple(CollectionView(r, heads[r.collection_id]) for r in page if r.collection_id in heads)
        return views, page[-1].collection_id if len(records) > limit else ""

    async def update(self, change: CollectionChange) -> CollectionView:
        """Change what is said of a collection, or the rates that it decides at.

        Raises:
            NotFoundError: it does not exist.
            RevisionChangedError: it is not at the expected revision.
            InvalidInputError: a rate, a gate or a name that is not allowed.
            CalibrationTooSmallError: the calibration cannot carry the policy's rates.
        """
        values = {name: getattr(change.wanted, name) for name in change.fields & CHANGEABLE}
        for left in reversed(range(_WRITES)):
            current = (await self.get(change.collection_id)).record
            if change.expected_revision not in (0, current.revision):
                raise RevisionChangedError(
                    "collection", current.collection_id, change.expected_revision, current.revision
                )
            record = replace(current, **values)
            self._check(record)
            await self._require_nobody_persistent(record)
            # Before the write: nothing is changed off the record.
            await self._store.append_audit(
                audit_log(change.collection_id, 0), [self._audit("UpdateCollection", change)]
            )
            try:
                await self._store.update_collection(record, current.revision)
                break
            except RevisionChangedError:
                if change.expected_revision or not left:
                    raise
        with contextlib.suppress(UnavailableError):  # it is written: the replica follows when the store is back
            await self._replica.catch_up(change.collection_id)
        get_logger().info("collection.updated", collection=change.collection_id, fields=sorted(values))
        return await self.get(change.collection_id)

    async def _require_nobody_persistent(self, record: CollectionRecord) -> None:
        """Refuse to forbid persistent persons where some are enrolled."""
        if record.modality is not Modality.PERSON or record.allow_persistent_persons:
            return
        enrolled = (await self.get(record.collection_id)).head.subject_count
        if enrolled:
            raise PreconditionError(
                "PERSONS_ENROLLED",
                "allow_persistent_persons",
                "false",
                f"true, while {enrolled} persons are enrolled; erase them first",
            )

    async def delete(self, collection_id: CollectionId, caller: str, *, force: bool) -> int:
        """Delete a collection; with `force` its subjects too. The default one comes back empty.

        Returns:
            The number of subjects that went with it.

        Raises:
            NotFoundError: it does not exist.
            NotEmptyError: it has subjects, and `force` is false.
        """
        now = self._clock.now()
        evidence_id = time_ordered_id("ev", now)
        audit = AuditRecord("DeleteCollection", now, evidence_id, caller, collection_id)
        await self._erase_persons(collection_id)
        deleted = await self._store.delete_collection(collection_id, audit, force=force)
        await self._replica.refresh()
        get_logger().info("collection.deleted", collection=collection_id, subjects=deleted)
        return deleted

    async def _erase_persons(self, collection_id: CollectionId) -> None:
        """Erase the sightings of anonymous persons, who have nothing else; their looks go with the collection."""
        at_last = self._clock.now() + timedelta(days=1)
        while over := await self._store.persons_seen_before(collection_id, at_last, _PERSONS_AT_ONCE):
            for person_id in over:
                await self._store.erase_events(collection_id, SubjectId(person_id))
                await self._store.forget_person(collection_id, person_id)

    async def _settle_retry(self, record: CollectionRecord) -> None:
        existing = await self._store.find_collection(record.collection_id)
        if existing is None or not record.request_id or existing.request_id != record.request_id:
            raise AlreadyExistsError("collection", record.collection_id)
        made = replace(existing, created_at=record.created_at, generation=record.generation)
        if existing.revision == record.revision and made != record:  # one that was changed since tells nothing
            raise RequestIdReusedError(record.request_id)

    def _audit(self, method: str, change: CollectionChange) -> AuditRecord:
        now = self._clock.now()
        return AuditRecord(method, now, time_ordered_id("ev", now), change.caller, change.collection_id)

    def _check(self, record: CollectionRecord) -> None:
        if len(record.display_name) > _MAX_NAME_CHARACTERS:
            raise InvalidInputError("display_name", record.display_name, f"at most {_MAX_NAME_CHARACTERS} characters")
        _check_gate(record.gate)
        _check_retention(record.retention_s)
        _check_persons(record)
        _check_cameras(record.camera_policies)
        calibration = self._thresholds.calibration(record.model_id)
        if calibration.modality is not record.modality:
            raise InvalidInputError("model_id", record.model_id, f"a model for {record.modality}")
        for name, policy in (("policy", record.policy), *_named(record.camera_policies)):
            _check_frames(policy, name)
            _require_carried(self._thresholds, record.model_id, policy)


def _require_carried(thresholds: Thresholds, model_id: ModelId, policy: PolicyRecord) -> None:
    beyond, size = policy.allow_extrapolation, max(1, policy.planned_gallery_size)
    rate = policy.verify_target_fmr
    thresholds.for_comparison(model_id, rate, impostors=policy.impostors, allow_extrapolation=beyond)
    thresholds.for_search(model_id, policy.identify_target_fpir, size, allow_extrapolation=beyond)


def _named(policies: Mapping[str, PolicyRecord]) -> Iterator[tuple[str, PolicyRecord]]:
    for camera_id, policy in policies.items():
        yield f"camera_policies[{camera_id}]", policy


def _check_persons(record: CollectionRecord) -> None:
    if record.modality is not Modality.PERSON:
        forbids = not record.allow_persistent_persons
        _require(forbids, "allow_persistent_persons", "true", f"false for {record.modality}")
        usual = record.person_retention_s == DEFAULT_PERSON_RETENTION_S
        _require(usual, "person_retention", f"{record.person_retention_s:g} s", f"unset for {record.modality}")
        return
    longest_s = bound_s(record)
    allowed = f"{LEAST_S:g} s to {longest_s:g} s" + (
        "" if record.allow_persistent_persons else f"; up to {LONGEST_PERSISTENT_S:g} s with allow_persistent_persons"
    )
    fits = LEAST_S <= record.person_retention_s <= longest_s
    _require(fits, "person_retention", f"{record.person_retention_s:g} s", allowed)


def _require(holds: bool, field: str, value: str, allowed: str) -> None:
    if not holds:
        raise InvalidInputError(field, value, allowed)


def require_persistent(record: CollectionRecord) -> None:
    """Refuse to enrol somebody where only anonymous persons may be kept.

    Raises:
        PreconditionError: it is a collection of persons that does not allow it.
    """
    if record.modality is Modality.PERSON and not record.allow_persistent_persons:
        raise PreconditionError(
            "PERSISTENT_PERSONS_FORBIDDEN",
            "collection_id",
            record.collection_id,
            "a collection of PERSON with allow_persistent_persons, or of another modality",
        )


def _check_cameras(policies: Mapping[str, PolicyRecord]) -> None:
    if len(policies) > MAX_CAMERA_POLICIES:
        raise InvalidInputError("camera_policies", f"{len(policies)} cameras", f"at most {MAX_CAMERA_POLICIES}")
    for camera_id in policies:
        checked_id("camera_policies", camera_id)


def _check_retention(retention_s: float | None) -> None:
    if retention_s is not None and not MIN_RETENTION_S <= retention_s <= MAX_RETENTION_S:
        raise InvalidInputError("retention", f"{retention_s:g} s", "one hour to a hundred years; unset: for ever")


def _check_gate(gate: GateRecord) -> None:
    for field in fields(gate):
        value = getattr(gate, field.name)
        if value is not None and not 0.0 <= value <= 1.0:
            raise InvalidInputError(f"quality_gate.{field.name}", value, "a number in [0, 1]")


def _check_frames(policy: PolicyRecord, name: str) -> None:
    if not 1 <= policy.min_tracklet_frames <= 100:
        raise InvalidInputError(f"{name}.min_tracklet_frames", policy.min_tracklet_frames, "1 to 100")
