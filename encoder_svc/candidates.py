"""What a detector found in one picture on its way to an embedding: measured, recognised, wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from encoder_svc.frames import EncodeOptions, SeenSample
from tessera.client.stream_values import KnownTracklet
from tessera.domain.embedding import Embedding, Vector
from tessera.domain.ids import ModelId, TrackletId
from tessera.domain.observation import Box, Landmarks, Observation, Quality
from tessera.imaging.decode import Image

CLEARLY_BETTER = 0.1
"""How much `Quality.overall` must rise before a tracklet that has a template is embedded again."""

_SAME_SAMPLE_IOU = 0.4


@dataclass(slots=True, eq=False)
class Candidate:
    """One face or person that was found: what is known of it so far."""

    box: Box
    landmarks: Landmarks
    """Of a person none."""
    probability: float
    crop: Image
    quality: Quality
    tracklet_id: TrackletId | None = None
    embedding: Embedding | None = field(default=None)
    bona_fide_probability: float | None = None


@dataclass(slots=True, eq=False)
class FoundSamples:
    """What was found in one picture, the largest first, and which of it is to be embedded."""

    image: Image
    """What crops are cut from."""
    factor: int
    """Pixels of the full picture per pixel of `image`, along each side."""
    candidates: list[Candidate] = field(default_factory=list)
    wanted: list[Candidate] = field(default_factory=list)
    decode_ms: float = 0.0
    """Of the full picture, where samples were too small in the one that the detector saw."""
    align_ms: float = 0.0
    quality_ms: float = 0.0

    def choose(self, options: EncodeOptions, known: Sequence[KnownTracklet]) -> None:
        """Recognise tracklets that the caller knows, and want what is new or clearly better than their best."""
        recognise(self.candidates, known)
        if options.with_embedding:
            best = {tracklet.tracklet_id: tracklet.best_quality for tracklet in known}
            self.wanted = [c for c in self.candidates if _needs_embedding(c, options, best)]


def recognise(candidates: Sequence[Candidate], known: Sequence[KnownTracklet]) -> None:
    """Give each known tracklet the sample that overlaps its prediction most; the best overlaps choose first."""
    overlaps = [(c.box.iou(k.predicted_box), i, j) for i, c in enumerate(candidates) for j, k in enumerate(known)]
    taken: set[int] = set()
    for overlap, i, j in sorted(overlaps, reverse=True):
        if overlap < _SAME_SAMPLE_IOU:
            break
        if candidates[i].tracklet_id is None and j not in taken:
            candidates[i].tracklet_id = known[j].tracklet_id
            taken.add(j)


def give_embeddings(candidates: Sequence[Candidate], vectors: Iterable[Vector], model_id: ModelId) -> None:
    """Put each embedding to its sample."""
    for candidate, vector in zip(candidates, vectors, strict=True):
        candidate.embedding = Embedding(vector, model_id)


def seen_sample(c: Candidate) -> SeenSample:
    """What is told of it."""
    seen = Observation(c.box, c.landmarks, c.probability, c.quality, c.embedding, c.bona_fide_probability)
    return SeenSample(seen, c.tracklet_id)


def _needs_embedding(candidate: Candidate, options: EncodeOptions, best: dict[TrackletId, float]) -> bool:
    if candidate.box.shorter_side_px < options.min_side_px or candidate.probability < options.min_embedded_probability:
        return False
    if candidate.tracklet_id is None:
        return True
    return candidate.quality.overall > best[candidate.tracklet_id] + CLEARLY_BETTER
