"""What in a picture makes it look like, or unlike, somebody who is enrolled: asked of the encoder, and put on record.

It explains what `Verify` would have compared, and refuses where that would have compared nothing: the subject's
template that scores highest goes to the encoder as the reference. The picture is kept nowhere. Decides nothing and
tells no score. It goes behind all other work there, and asks the store here, not the index: nobody who
searches waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gallery_svc.gate import HINTS
from gallery_svc.probes import Deadline, Encoder, Picture, ProbeReader
from gallery_svc.recording import Attempt, Recorder
from gallery_svc.rows import SearchRow, TemplateRow
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.protocol import Store
from tessera.chassis.clock import Clock
from tessera.client.encoder import Priority
from tessera.client.explanations import Explanation
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import (
    ImageRejectedError,
    ModelMismatchError,
    NotFoundError,
    PreconditionError,
    UnavailableError,
)
from tessera.domain.ids import CollectionId, SubjectId, TemplateId
from tessera.domain.not_one import NOT_ONE
from tessera.domain.reasons import Reason
from tessera.domain.saliency import checked_grid


class ExplainingEncoder(Encoder, Protocol):
    """What makes observations of pictures, and explains their scores."""

    async def explain(
        self,
        image: bytes,
        reference: Embedding,
        *,
        deadline_s: float,
        modality: Modality = ...,
        grid: int = ...,
        field: str = ...,
    ) -> Explanation:
        """Explain one picture; see `tessera.client.encoder.EncoderClient.explain`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ExplainQuestion:
    """What in this picture makes it look like, or unlike, the subject?"""

    collection_id: CollectionId
    subject_id: SubjectId
    picture: Picture
    grid: int
    """Rows and columns of the map; 0: 14."""
    camera_id: str = ""
    """That asks; empty: no camera does."""


@dataclass(frozen=True, slots=True, eq=False)
class MatchExplained:
    """The answer."""

    template_id: TemplateId
    """The subject's, that scored highest."""
    explanation: Explanation


class MatchExplainer:
    """Explains what a picture has of somebody who is enrolled.

    Args:
        store: has the subject's templates.
        encoder: explains.
        probes: makes the sample that chooses among several templates.
        recorder: puts on record that it was asked.
        clock: for who is valid now.
    """

    def __init__(
        self, store: Store, encoder: ExplainingEncoder, probes: ProbeReader, recorder: Recorder, clock: Clock
    ) -> None:
        self._store = store
        self._encoder = encoder
        self._probes = probes
        self._recorder = recorder
        self._clock = clock

    async def explain(self, question: ExplainQuestion, attempt: Attempt, deadline: Deadline) -> MatchExplained:
        """Explain a picture against the subject's best template.

        Raises:
            InvalidInputError: the grid cannot be.
            NotFoundError: the collection or the subject does not exist, or not for the camera that asks.
            PreconditionError: the subject has no template of the collection's model (NO_TEMPLATE), or is not valid now
                (NOT_VALID_NOW).
            ImageRejectedError: the picture cannot be used; NO_FACE and EXCEEDS_MAX_FACES too.
            ModelMismatchError: the encoder does not have the collection's model.
            UnavailableError: the encoder or the store is away; what is not on record is not told.
        """
        checked_grid(question.grid)
        record, templates = await self._compared(question)
        best = templates[0] if len(templates) == 1 else await self._best(question, record, templates, deadline)
        explanation = await self._explained(question, record, best, deadline)
        await self._recorder.record_question(attempt, question.subject_id)
        return MatchExplained(best.template_id, explanation)

    async def _compared(self, question: ExplainQuestion) -> tuple[CollectionRecord, Sequence[TemplateRow]]:
        """The templates that a claim meets, and the collection whose model they are of."""
        before = await self._record(question.collection_id)
        row = await self._store.find_row(question.collection_id, question.subject_id)
        if (await self._record(question.collection_id)).active_epoch != before.active_epoch:
            raise UnavailableError("gallery", "the collection has just moved to another encoder; ask again")
        if row is not None and row.templates:
            self._require_found(question, row)
            return before, row.templates
        if await self._store.find_subject(question.collection_id, question.subject_id) is None:
            raise NotFoundError("subject", question.subject_id)
        raise PreconditionError(
            Reason.NO_TEMPLATE.value,
            "subject_id",
            question.subject_id,
            f"a subject with a template of {before.model_id}",
        )

    def _require_found(self, question: ExplainQuestion, row: SearchRow) -> None:
        if not row.profile.is_found_by(question.camera_id):
            raise NotFoundError("subject", question.subject_id)  # for this camera it is not there
        if not row.profile.is_valid_at(self._clock.now()):
            raise PreconditionError(
                Reason.NOT_VALID_NOW.value, "subject_id", question.subject_id, "a subject that is valid now"
            )

    async def _record(self, collection_id: CollectionId) -> CollectionRecord:
        record = await self._store.find_collection(collection_id)
        if record is None:
            raise NotFoundError("collection", collection_id)
        return record

    async def _best(
        self, question: ExplainQuestion, record: CollectionRecord, templates: Sequence[TemplateRow], deadline: Deadline
    ) -> TemplateRow:
        """The template that scores highest; of equal ones the first by id, as in a search."""
        try:
            seen = await self._probes.read(
                question.picture, record.model_id, record.modality, priority=Priority.STREAM, deadline=deadline
            )
        except ImageRejectedError as error:
            raise error.in_field("image") from error
        sample, reason = seen.only()
        if sample is None:
            why = reason or NOT_ONE[record.modality].none
            raise ImageRejectedError(why, HINTS[why])
        vector = sample.embedding.vector.astype(np.float64)
        return min(templates, key=lambda one: (-float(one.vector.astype(np.float64) @ vector), one.template_id))

    async def _explained(
        self, question: ExplainQuestion, record: CollectionRecord, best: TemplateRow, deadline: Deadline
    ) -> Explanation:
        try:
            return await self._encoder.explain(
                question.picture.data,
                Embedding.from_raw(best.vector, record.model_id),
                deadline_s=deadline.remaining_s("explain"),
                modality=record.modality,
                grid=question.grid,
            )
        except NotFoundError as error:
            raise ModelMismatchError(record.model_id, "none of that id", "encoder") from error
