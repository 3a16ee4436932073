"""What is asked of a picture, and what was seen in it, of whatever modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from encoder_svc.scheduling.work import Asker, WorkClass
from tessera.client.stream_values import KnownTracklet, StageTimes
from tessera.domain.embedding import Modality
from tessera.domain.ids import ModelId, TrackletId
from tessera.domain.observation import Observation
from tessera.imaging.decode import Image


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """What to find and how much to do."""

    max_observations: int = 16
    """At most so many, the largest first."""
    min_detection_probability: float | None = None
    """Detections at or below it are not reported. None: what the encoder's own detector calls sure."""
    min_side_px: float = 0.0
    """Observations whose shorter side is smaller are reported without an embedding."""
    with_embedding: bool = True
    """False: detect and measure only."""
    min_embedded_probability: float = 0.0
    """Detections below it are reported without an embedding."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture to encode, and who wants what of it."""

    data: bytes
    """JPEG, PNG, WebP or BMP."""
    options: EncodeOptions
    work_class: WorkClass
    known: Sequence[KnownTracklet] = ()
    """Tracklets that need no new embedding."""
    expires_at_s: float | None = None
    """On the clock's monotonic time; later nobody wants the answer."""
    source: str = ""
    """The stream that it comes from; empty: none."""
    persons: EncodeOptions | None = None
    """Look for persons beside faces, with these options; None: do not."""

    def of(self, modality: Modality) -> Picture:
        """The same picture as one of the two encoders sees it that look at it: its options, its tracklets."""
        known = [tracklet for tracklet in self.known if (tracklet.modality or Modality.FACE) is modality]
        options = self.persons if modality is Modality.PERSON and self.persons else self.options
        return replace(self, options=options, known=known, persons=None)

    @property
    def asker(self) -> Asker:
        """For whom it is encoded."""
        return Asker(self.work_class, self.source, self.expires_at_s)


@dataclass(frozen=True, slots=True, eq=False)
class SeenSample:
    """An observation, and the tracklet that the caller had predicted there."""

    observation: Observation
    tracklet_id: TrackletId | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SeenPersons:
    """The persons of a picture whose faces were looked for too."""

    samples: tuple[SeenSample, ...]
    """The largest first."""
    model_id: ModelId


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFrame:
    """What was seen in one picture."""

    samples: tuple[SeenSample, ...]
    """The largest first."""
    height_px: int
    width_px: int
    times: StageTimes
    persons: SeenPersons | None = None
    """None: nobody asked for them beside faces."""

    @property
    def observations(self) -> tuple[Observation, ...]:
        """The observations alone."""
        return tuple(sample.observation for sample in self.samples)


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The end of a picture's way."""

    frame: EncodedFrame
    crops: Sequence[Image]
    """The pixels that each embedding was made of, in the order of the samples that have one."""


@dataclass(frozen=True, slots=True, eq=False)
class AlignedSample:
    """The one sample of a picture, and the pixels that its embedding was made of."""

    observation: Observation
    crop: Image
