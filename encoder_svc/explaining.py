"""What in a picture drives its score with a reference: the aligned picture is covered part by part and embedded anew.

The picture itself is prepared and embedded as any frame of a camera, in the order of the queues. What is made of it is
of the lowest class: no verify call, enrolment or frame waits for it for longer than one batch. Covering starts from
the pixels that the embedding was made of, and goes through the same preparation and recipe, so that it holds for every
encoder. Decides nothing, and tells no score.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from encoder_svc.encoders import Encoders, outcome_of
from encoder_svc.frames import AlignedSample, EncodeOptions, Picture
from encoder_svc.pipeline import EMBED_BATCH
from encoder_svc.scheduling.work import Asker, WorkClass
from encoder_svc.version import EncoderVersion, Parts
from tessera.client.explanations import ExplanationMap
from tessera.domain.embedding import Embedding, Modality, Vector
from tessera.domain.errors import InvalidInputError, ModelMismatchError
from tessera.domain.ids import ModelId
from tessera.domain.observation import Observation
from tessera.domain.saliency import (
    PATCH_CELLS,
    Cells,
    cell_weights,
    checked_grid,
    faithfulness,
    patches,
    random_parts,
    strongest,
)
from tessera.imaging.covering import cover
from tessera.imaging.decode import Image

METHOD = f"occlusion, patches of {PATCH_CELLS} x {PATCH_CELLS} cells"

_ONE_AND_MORE = EncodeOptions(max_observations=2)


@dataclass(frozen=True, slots=True, eq=False)
class ExplainQuestion:
    """What in this picture makes it look like, or unlike, the reference?"""

    picture: bytes
    """A file with exactly one face."""
    reference: bytes | Embedding
    """Another such file, or an embedding of the same model."""
    modality: Modality = Modality.FACE
    wanted: str = ""
    """A model id or a name; empty: the modality's default."""
    grid: int = 0
    """Rows and columns of the map; 0: 14."""
    expires_at_s: float | None = None
    """On the clock's monotonic time; later nobody wants the answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """A map over the aligned picture, and how far it can be trusted."""

    observation: Observation
    """Of the face that is explained, without its embedding."""
    model_id: ModelId
    map: ExplanationMap


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """The face that is explained, what it is compared with, and for whom."""

    face: AlignedSample
    reference: Vector
    filling: Image
    asker: Asker


class Explainer:
    """Explains scores, one at a time.

    Args:
        encoders: whose scores they are.
        parts: the door, the device and the clock of these encoders.
    """

    def __init__(self, encoders: Encoders, parts: Parts) -> None:
        self._encoders = encoders
        self._parts = parts

    async def explain(self, question: ExplainQuestion) -> Explanation:
        """Map what drives the score of a picture with a reference.

        Raises:
            InvalidInputError: the grid, or the length of the reference, cannot be.
            ImageRejectedError: a picture cannot be used; NO_FACE and EXCEEDS_MAX_FACES too.
            ModelMismatchError: the reference is of another model.
            ExpiredError: its time ran out first.
            OverloadedError: too many wait.
            NotFoundError: there is no such encoder.
            UnavailableError: the encoder takes no work.
        """
        with self._counted():
            grid = checked_grid(question.grid)
            self._check_reference(self._encoders.version(question.wanted, question.modality), question.reference)
            async with self._parts.admission.entered(WorkClass.EXPLANATION, self._remaining_s(question)):
                version = self._encoders.version(question.wanted, question.modality)
                self._check_reference(version, question.reference)  # while it waited another version may have come
                with version.working():
                    return await self._explained(version, question, grid)

    async def _explained(self, version: EncoderVersion, question: ExplainQuestion, grid: int) -> Explanation:
        reference = await self._reference(version, question)
        face = await version.only_sample(_frame(question.picture, question), "image")
        asker = Asker(WorkClass.EXPLANATION, expires_at_s=question.expires_at_s)
        filling = await version.run_beside(partial(version.pipeline.without_features, face.crop), asker)
        pair = _Pair(face, reference, filling, asker)
        covered = patches(grid)
        weights = cell_weights(await self._changes(version, pair, covered), covered)
        tests = np.concatenate((strongest(weights), random_parts(weights.shape)))
        changes = await self._changes(version, pair, tests)
        drawn = await version.run_beside(partial(version.pipeline.overlay, question.picture, face.crop, weights), asker)
        told = ExplanationMap(weights, drawn, METHOD, faithfulness(weights, float(changes[0]), changes[1:]))
        return Explanation(replace(face.observation, embedding=None), version.pipeline.model_id, told)

    async def _changes(self, version: EncoderVersion, pair: _Pair, covered: Cells) -> npt.NDArray[np.float32]:
        """By how much each variant scores lower than the picture as it is."""
        whole = _vector_of(pair.face) @ pair.reference
        scores = []
        for first in range(0, len(covered), EMBED_BATCH):
            make = partial(cover, pair.face.crop, pair.filling, covered[first : first + EMBED_BATCH])
            scores.append(await version.embed(make, pair.asker) @ pair.reference)
        # A network that sees nothing in what is left may give zeros, which point nowhere: like nobody.
        changes: npt.NDArray[np.float32] = whole - np.nan_to_num(np.concatenate(scores))
        return changes

    async def _reference(self, version: EncoderVersion, question: ExplainQuestion) -> Vector:
        if isinstance(question.reference, Embedding):
            return question.reference.vector
        return _vector_of(await version.only_sample(_frame(question.reference, question), "reference.image"))

    @staticmethod
    def _check_reference(version: EncoderVersion, reference: bytes | Embedding) -> None:
        if not isinstance(reference, Embedding):
            return
        if reference.model_id != version.pipeline.model_id:
            raise ModelMismatchError(version.pipeline.model_id, reference.model_id, "reference")
        dimensions = version.pipeline.manifest.dimensions
        if reference.vector.size != dimensions:
            allowed = f"{dimensions} numbers, as {reference.model_id} makes them"
            raise InvalidInputError("reference.embedding.values", f"{reference.vector.size} numbers", allowed)

    def _remaining_s(self, question: ExplainQuestion) -> float | None:
        if question.expires_at_s is None:
            return None
        return question.expires_at_s - self._parts.clock.monotonic_s()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count what became of one explanation, as of a picture."""
        metrics, name = self._parts.metrics, WorkClass.EXPLANATION.value
        metrics.received(name)
        started_s = self._parts.clock.monotonic_s()
        try:
            with metrics.pending.labels(name).track_inprogress():
                yield
        except BaseException as error:
            metrics.frames.labels(name, *outcome_of(error)).inc()
            raise
        finally:
            metrics.sent(name)
        metrics.frames.labels(name, "encoded", "").inc()
        metrics.total_seconds.labels(name).observe(self._parts.clock.monotonic_s() - started_s)


def _frame(data: bytes, question: ExplainQuestion) -> Picture:
    """A picture that goes the way of a camera's frame: it has a share, so that it does not keep its pixels for long."""
    return Picture(data, _ONE_AND_MORE, WorkClass.STREAM, expires_at_s=question.expires_at_s)


def _vector_of(face: AlignedSample) -> Vector:
    if face.observation.embedding is None:  # it was asked for
        raise RuntimeError("a face without an embedding")
    return face.observation.embedding.vector
