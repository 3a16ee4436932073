"""The calibrations of this deployment: fitted, kept, and each chosen to decide by somebody, never by itself.

The one that decides for a model is the one that was activated last; where none ever was, the one that came with the
encoder. Only those against random impostors are fitted and chosen; against skilled ones the encoder's own decides.
Galleries that share a store take to a choice when they next look. A calibration that was chosen and cannot be read
takes its model out of service: no other threshold stands in for it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from gallery_svc.ids import time_ordered_id
from gallery_svc.labelled import GivenScores, LabelledSamples, OwnSamples
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.calibration_records import SHIPPED, CalibrationChoice, CalibrationRecord
from gallery_svc.store.protocol import GLOBAL_LOG, Store
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.calibration import Calibration, Impostors, dump_calibration, load_calibration
from tessera.domain.errors import (
    ArtifactError,
    InvalidInputError,
    NoCalibrationError,
    NotFoundError,
    PreconditionError,
    RequestIdReusedError,
    RevisionChangedError,
)
from tessera.domain.fitting import Provenance, calibrate_embeddings, calibrate_scores
from tessera.domain.ids import CalibrationId, CollectionId, ModelId

FIT = "Calibrate"
ACTIVATE = "ActivateCalibration"


@dataclass(frozen=True, slots=True)
class FitOrder:
    """What a caller wants fitted."""

    data: CollectionId | LabelledSamples | GivenScores
    """A collection of this gallery, or what was measured elsewhere."""
    data_digest: str
    """Of what the request brought; empty for a collection."""
    model_id: ModelId | None
    """None: that of the data."""
    strictest_fmr: float | None
    """It must state this rate."""
    activate: bool
    calibration_id: CalibrationId | None
    request_id: str
    caller: str

    @property
    def digest(self) -> str:
        """Of what was asked for, to know a retry by."""
        data = self.data if isinstance(self.data, str) else self.data_digest
        told = (data, self.model_id, self.strictest_fmr, self.activate, self.calibration_id)
        return hashlib.sha256(repr(told).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ActivationOrder:
    """Which calibration a caller wants to decide."""

    calibration_id: CalibrationId | None
    """None: roll back."""
    roll_back: ModelId | None
    """The model whose last choice is taken back."""
    expected_active_id: CalibrationId | None
    """The one that the caller has seen deciding; None: whichever it is."""
    request_id: str
    caller: str


@dataclass(frozen=True, slots=True)
class KeptCalibration:
    """A calibration, where it came from, and whether it decides."""

    calibration: Calibration
    is_shipped: bool
    is_active: bool
    created_at: datetime | None = None
    """Of one that was fitted here."""
    activated_at: datetime | None = None


class Calibrations:
    """Fits, keeps, lists and chooses calibrations.

    Args:
        store: where they are kept.
        thresholds: what decides here; told of each choice.
        samples: the deployment's own templates, as labelled samples.
        clock: for the times of records.
        on_refresh: called whenever it has looked which calibrations decide.
    """

    def __init__(
        self,
        store: Store,
        thresholds: Thresholds,
        samples: OwnSamples,
        clock: Clock,
        on_refresh: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._thresholds = thresholds
        self._samples = samples
        self._clock = clock
        self._choices: dict[ModelId, CalibrationChoice] = {}
        self._on_refresh = on_refresh

    async def refresh(self) -> None:
        """Take to the choices that stand in the store.

        Raises:
            UnavailableError: the store is away; what was taken to last stays.
        """
        choices = await self._store.calibration_choices()
        for model_id, choice in choices.items():
            if self._choices.get(model_id) != choice:
                await self._take_to(choice)
        self._choices = choices
        self._on_refresh()

    async def fit(self, order: FitOrder) -> tuple[KeptCalibration, bool]:
        """Fit a calibration, keep it, and have it decide where that is asked for.

        Returns:
            (calibration, replayed): True when a request of this id made it before.

        Raises:
            NotFoundError: the collection does not exist.
            InvalidInputError: the data is no labelled data, or of another model.
            CalibrationTooSmallError: the data cannot carry the rate that was asked for, or any.
            AlreadyExistsError: there is a calibration of that id.
            RequestIdReusedError: the request id came before with other content.
        """
        earlier = await self._fitted_before(order)
        if earlier is not None:
            return await self.find(calibration_id=earlier.calibration_id), True
        calibration = await self._fitted(order)
        await self._put_on_record(FIT, order.caller, order.request_id, calibration.calibration_id)
        now = self._clock.now()
        record = CalibrationRecord(
            calibration.calibration_id,
            calibration.model_id,
            now,
            dump_calibration(calibration),
            order.request_id,
            order.digest,
        )
        if self._thresholds.shipped(calibration.calibration_id) is not None:
            raise InvalidInputError("calibration_id", calibration.calibration_id, "an id that is not the shipped one's")
        await self._store.add_calibration(record)
        if order.activate:
            activation = ActivationOrder(calibration.calibration_id, None, None, order.request_id, order.caller)
            await self.activate(activation)
        return await self.find(calibration_id=calibration.calibration_id), False

    async def activate(self, order: ActivationOrder) -> tuple[KeptCalibration, CalibrationId]:
        """Have a calibration decide for its model from now on, or go back to the one before.

        Returns:
            (calibration, previous): the one that decides, and the id of the one that did.

        Raises:
            NotFoundError: there is no such calibration.
            RevisionChangedError: another one than expected decides, or somebody chose at the same moment.
            PreconditionError: there is nothing to go back to (NO_EARLIER_CALIBRATION).
        """
        await self.refresh()
        model_id, wanted = await self._wanted(order)
        choice = self._choices.get(model_id, CalibrationChoice(model_id))
        previous = self._id_of(choice)
        if order.expected_active_id not in (None, previous):
            raise RevisionChangedError("calibration", previous, 0, choice.revision)
        now = self._clock.now()
        if wanted is None:
            following = choice.rolled_back(now)
            if following is None:
                raise PreconditionError(
                    "NO_EARLIER_CALIBRATION", "roll_back_model_id", model_id, "a model for which one was activated"
                )
        else:
            following = choice.choosing(wanted, now)
        if wanted is None or wanted != choice.active_id:
            detail = self._id_of(following)
            await self._put_on_record(ACTIVATE, order.caller, order.request_id, detail)
            await self._store.choose_calibration(following)
        await self.refresh()
        return await self.find(model_id=model_id), previous

    async def find(
        self,
        *,
        model_id: ModelId | None = None,
        calibration_id: CalibrationId | None = None,
        impostors: Impostors = Impostors.RANDOM,
    ) -> KeptCalibration:
        """The calibration of an id, or the one that decides for a model against these impostors.

        Raises:
            InvalidInputError: neither is named.
            NotFoundError: there is none, or it is of another model.
        """
        if not model_id and not calibration_id:
            raise InvalidInputError("model_id", "", "a model id, or a calibration id")
        if not calibration_id:
            calibration_id = self._deciding(ModelId(model_id or ""), impostors).calibration_id
        shipped = self._thresholds.shipped(calibration_id)
        if shipped is not None:
            kept = self._kept(shipped, None)
        else:
            record = await self._store.find_calibration(calibration_id)
            if record is None:
                raise NotFoundError("calibration", calibration_id)
            kept = self._kept(_loaded(record), record.created_at)
        if model_id and kept.calibration.model_id != model_id:
            raise NotFoundError("calibration", calibration_id)
        return kept

    async def list(self, model_id: ModelId | None) -> tuple[KeptCalibration, ...]:
        """All calibrations, by model, the shipped one first and then the oldest; without their points."""
        kept = [self._kept(shipped, None) for shipped in self._thresholds.all_shipped()]
        kept += [self._kept(_loaded(one), one.created_at) for one in await self._store.list_calibrations()]
        bare = [replace(one, calibration=replace(one.calibration, points=(), searches=())) for one in kept]
        of_model = [one for one in bare if model_id in (None, one.calibration.model_id)]
        return tuple(sorted(of_model, key=lambda one: one.calibration.model_id))

    # ---- inside

    async def _take_to(self, choice: CalibrationChoice) -> None:
        try:
            self._thresholds.choose(choice.model_id, await self._chosen(choice))
        except ArtifactError as error:
            self._thresholds.withhold(choice.model_id)
            get_logger().error("calibration.unreadable", model=choice.model_id, why=str(error))
            return
        get_logger().info("calibration.active", model=choice.model_id, calibration=choice.active_id or "shipped")

    async def _chosen(self, choice: CalibrationChoice) -> Calibration | None:
        """What decides; None: the shipped one."""
        if choice.active_id == SHIPPED:
            return None
        record = await self._store.find_calibration(choice.active_id)
        if record is None:
            raise ArtifactError(choice.active_id, "it decides for its model and is not in the store")
        return _loaded(record)

    async def _fitted_before(self, order: FitOrder) -> CalibrationRecord | None:
        if not order.request_id:
            return None
        for record in await self._store.list_calibrations():
            if record.request_id == order.request_id:
                if record.request_digest != order.digest:
                    raise RequestIdReusedError(order.request_id)
                return record
        return None

    async def _fitted(self, order: FitOrder) -> Calibration:
        data = order.data
        if isinstance(data, str):
            data = await self._samples.of_collection(CollectionId(data))
        model_id = data.model_id if isinstance(data, LabelledSamples) else order.model_id
        if model_id is None:
            raise InvalidInputError("model_id", "", "the model that made the scores")
        if order.model_id not in (None, model_id):
            raise InvalidInputError("model_id", order.model_id, f"that of the data: {model_id}")
        provenance = self._provenance(order, model_id, data.name, data.digest)
        return await asyncio.to_thread(_computed, data, provenance, order.strictest_fmr)

    def _provenance(self, order: FitOrder, model_id: ModelId, name: str, digest: str) -> Provenance:
        now = self._clock.now()
        made = CalibrationId(time_ordered_id(f"{model_id.partition('@')[0]}-fit", now))
        modality, created = self._thresholds.modality(model_id), now.isoformat(timespec="seconds")
        return Provenance(order.calibration_id or made, model_id, modality, created, name, digest)

    def _require_known(self, model_id: ModelId) -> None:
        if model_id not in self._choices and self._thresholds.shipped_for(model_id) is None:
            raise NotFoundError("calibration", model_id)

    def _deciding(self, model_id: ModelId, impostors: Impostors) -> Calibration:
        try:
            return self._thresholds.calibration(model_id, impostors)
        except NoCalibrationError as error:
            raise NotFoundError("calibration", model_id) from error

    async def _wanted(self, order: ActivationOrder) -> tuple[ModelId, CalibrationId | None]:
        """(model, calibration): None: the one before."""
        if order.calibration_id is None:
            if order.roll_back is None:
                raise InvalidInputError("choice", "", "calibration_id, or roll_back_model_id")
            self._require_known(order.roll_back)
            return order.roll_back, None
        kept = await self.find(calibration_id=order.calibration_id)
        if kept.calibration.impostors is not Impostors.RANDOM:
            allowed = "one against random impostors; that against skilled ones is the encoder's own"
            raise InvalidInputError("calibration_id", order.calibration_id, allowed)
        return kept.calibration.model_id, SHIPPED if kept.is_shipped else order.calibration_id

    def _kept(self, calibration: Calibration, created_at: datetime | None) -> KeptCalibration:
        choice = self._choices.get(calibration.model_id, CalibrationChoice(calibration.model_id))
        by_choice = calibration.impostors is Impostors.RANDOM
        is_active = not by_choice or calibration.calibration_id == self._id_of(choice)
        activated_at = choice.activated_at if is_active and by_choice else None
        return KeptCalibration(calibration, created_at is None, is_active, created_at, activated_at)

    def _id_of(self, choice: CalibrationChoice) -> CalibrationId:
        shipped = self._thresholds.shipped_for(choice.model_id)
        return choice.active_id or (shipped.calibration_id if shipped is not None else SHIPPED)

    async def _put_on_record(self, method: str, caller: str, request_id: str, calibration_id: CalibrationId) -> None:
        """Before the write: nothing is changed off the record."""
        now = self._clock.now()
        evidence_id = time_ordered_id("ev", now)
        entry = AuditRecord(method, now, evidence_id, caller, request_id=request_id, detail=calibration_id)
        await self._store.append_audit(GLOBAL_LOG, [entry])


def _computed(data: LabelledSamples | GivenScores, provenance: Provenance, strictest_fmr: float | None) -> Calibration:
    if isinstance(data, LabelledSamples):
        return calibrate_embeddings(data.vectors, data.subjects, provenance, strictest_fmr=strictest_fmr)
    return calibrate_scores(data.scores, provenance, strictest_fmr=strictest_fmr)


def _loaded(record: CalibrationRecord) -> Calibration:
    return load_calibration(record.text, record.calibration_id)
