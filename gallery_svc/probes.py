"""From what a caller sends to what can be compared: a picture goes to the encoder, an embedding is taken as it is.

Nothing here decides: no face and several faces are told as reasons, and what follows from them is the caller's rule.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from gallery_svc.biometrics import Biometrics
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import Clock
from tessera.chassis.tracing import current_span
from tessera.client.encoder import EncodedImage, Priority
from tessera.client.stream_values import StageTimes
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import ExpiredError, ModelMismatchError, NotFoundError
from tessera.domain.ids import ModelId
from tessera.domain.not_one import NOT_ONE
from tessera.domain.observation import Box, Observation, Quality
from tessera.domain.reasons import Reason


class Encoder(Protocol):
    """What makes observations of pictures."""

    async def encode(
        self,
        image: bytes,
        *,
        priority: Priority,
        deadline_s: float,
        modality: Modality = ...,
        model_id: ModelId | None = ...,
        max_observations: int = ...,
        field: str = ...,
    ) -> EncodedImage:
        """Encode one picture; see `tessera.client.encoder.EncoderClient.encode`."""
        ...


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the caller sent it."""

    data: bytes
    """The whole file."""


Probe = Picture | Embedding


class Deadline:
    """The moment until which a call's answer is wanted.

    Args:
        clock: that it runs on.
        seconds: from now.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self.at_s = clock.monotonic_s() + seconds

    def remaining_s(self, stage: str) -> float:
        """Seconds that are left.

        Raises:
            ExpiredError: none are, before `stage`.
        """
        left_s = self.at_s - self._clock.monotonic_s()
        if left_s <= 0:
            raise ExpiredError(stage)
        return left_s


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One thing to compare."""

    embedding: Embedding
    quality: Quality | None = None
    """None when it came as an embedding."""
    box: Box | None = None

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """What is weak about it."""
        return self.quality.reasons if self.quality is not None else ()


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a probe holds: samples, largest first, and what making them cost."""

    samples: tuple[Sample, ...]
    stage_times: StageTimes | None = None
    """The encoder's own; None for an embedding."""
    encode_ms: float = 0.0
    """The call to the encoder as seen from here."""
    modality: Modality = Modality.FACE
    """What was looked for."""

    def only(self) -> tuple[Sample | None, Reason | None]:
        """The one sample, or why there is not one, such as NO_FACE or EXCEEDS_MAX_FACES."""
        if len(self.samples) == 1:
            return self.samples[0], None
        told = NOT_ONE[self.modality]
        return None, told.several if self.samples else told.none


class ProbeReader:
    """Makes samples of probes.

    Args:
        encoder: what pictures are sent to.
        thresholds: knows how long each model's embeddings are.
        metrics: where it counts.
        biometrics: counts what was found.
    """

    def __init__(
        self, encoder: Encoder, thresholds: Thresholds, metrics: GalleryMetrics, biometrics: Biometrics
    ) -> None:
        self._biometrics = biometrics
        self._encoder = encoder
        self._thresholds = thresholds
        self._metrics = metrics

    async def read(
        self,
        probe: Probe,
        model_id: ModelId,
        modality: Modality,
        *,
        priority: Priority,
        deadline: Deadline,
        max_faces: int = 2,
        field: str = "probe",
    ) -> Seen:
        """Make samples of a probe.

        Args:
            probe: a picture, or an embedding.
            model_id: the only model whose embeddings are of use.
            modality: what to look for.
            priority: whose work goes first at the encoder.
            deadline: until when the answer is wanted.
            max_faces: look for at most so many.
            field: the request field that held the probe, for errors.

        Raises:
            ModelMismatchError: the embedding, or all that the encoder has, is of another model.
            ImageRejectedError: the picture cannot be used.
        """
        if isinstance(probe, Embedding):
            if probe.model_id != model_id:
                raise ModelMismatchError(model_id, probe.model_id)
            self._thresholds.require_dimensions(probe, field)
            return Seen((Sample(probe),), modality=modality)
        started_s = time.perf_counter()
        call = self._encoder.encode(
            probe.data,
            priority=priority,
            deadline_s=deadline.remaining_s("encode"),
            modality=modality,
            model_id=model_id,
            max_observations=max_faces,
            field=f"{field}.image",
        )
        encoded = await self._measured(call, model_id)
        encode_ms = (time.perf_counter() - started_s) * 1000
        samples = tuple(_sample(o, o.embedding) for o in encoded.observations if o.embedding is not None)
        qualities = [sample.quality for sample in samples if sample.quality is not None]
        self._biometrics.acquired(model_id, _PURPOSES[priority], qualities)
        return Seen(samples, encoded.stage_times, encode_ms, modality)

    async def _measured(self, call: Awaitable[EncodedImage], model_id: ModelId) -> EncodedImage:
        outcome, started_s = "ok", time.perf_counter()
        try:
            encoded = await call
        except NotFoundError as error:
            outcome = "ModelMismatchError"
            raise ModelMismatchError(model_id, "none of that id", "encoder") from error
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            took_s = time.perf_counter() - started_s
            self._metrics.encoder_seconds.labels(outcome).observe(took_s, current_span().exemplar())
        if encoded.model_id != model_id:
            raise ModelMismatchError(model_id, encoded.model_id, "encoder")
        return encoded


_PURPOSES = {Priority.INTERACTIVE: "claim", Priority.ENROLMENT: "enrolment", Priority.STREAM: "upkeep"}


def _sample(observation: Observation, embedding: Embedding) -> Sample:
    return Sample(embedding, observation.quality, observation.box)
