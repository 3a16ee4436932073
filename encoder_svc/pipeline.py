"""One picture, start to end: decode, detect, align, measure, embed. No queue, no clock of deadlines, no transport.

`FacePipeline.run` is the whole way in one call, for calibration and benchmarks; the service calls `prepare` and
`encode` on different threads. Both give the same numbers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from tessera.client.stream_values import KnownTracklet, StageTimes
from tessera.domain.artifact import Manifest
from tessera.domain.embedding import Embedding, Vectors
from tessera.domain.errors import ArtifactError
from tessera.domain.ids import ModelId, TrackletId
from tessera.domain.observation import Box, Landmarks, Observation, Quality
from tessera.imaging.align import align
from tessera.imaging.decode import DEFAULT_LIMITS, DecodeLimits, Image, decode
from tessera.imaging.preprocess import (
    DETECT_SIDE_PX,
    PREPROCESSING_VERSION,
    DetectorInput,
    detector_input,
    embedder_input,
)
from tessera.imaging.quality import DEFAULT_GATE, QualityGate, assess
from tessera.nets.artifact import FaceNetworks
from tessera.nets.yunet import decode as decode_faces

EMBED_BATCH = 16
"""Faces of one picture are embedded together, so many at a time."""

CLEARLY_BETTER = 0.1
"""How much `Quality.overall` must rise before a tracklet that has a template is embedded again."""

_SAME_FACE_IOU = 0.4
_WARM_UP_SIZES_PX = ((480, 640), (720, 1280), (1280, 720))
_WARM_UP_FACES = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """What to find and how much to do."""

    max_observations: int = 16
    """At most so many, the largest first."""
    min_detection_probability: float = 0.7
    """Detections at or below it are not reported."""
    min_side_px: float = 0.0
    """Observations whose shorter side is smaller are reported without an embedding."""
    with_embedding: bool = True
    """False: detect and measure only."""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedFrame:
    """A decoded picture, ready for the device."""

    image: Image
    detector: DetectorInput
    decode_ms: float
    """Decoding and shrinking."""


@dataclass(frozen=True, slots=True, eq=False)
class SeenFace:
    """An observation, and the tracklet that the caller had predicted there."""

    observation: Observation
    tracklet_id: TrackletId | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFrame:
    """What was seen in one picture."""

    faces: tuple[SeenFace, ...]
    """The largest first."""
    height_px: int
    width_px: int
    times: StageTimes

    @property
    def observations(self) -> tuple[Observation, ...]:
        """The observations alone."""
        return tuple(face.observation for face in self.faces)


@dataclass(slots=True, eq=False)
class _Laps:
    """Adds up where the time of one picture goes."""

    decode_ms: float
    detect_ms: float = 0.0
    align_ms: float = 0.0
    quality_ms: float = 0.0
    embed_ms: float = 0.0

    def times(self) -> StageTimes:
        """The stages and their sum; nothing has waited here."""
        laps = asdict(self)
        return StageTimes(**laps, total_ms=sum(laps.values()))


@dataclass(slots=True, eq=False)
class _Candidate:
    box: Box
    landmarks: Landmarks
    probability: float
    crop: Image
    quality: Quality
    tracklet_id: TrackletId | None = None
    embedding: Embedding | None = field(default=None)


class FacePipeline:
    """The face encoder of one manifest.

    Args:
        manifest: names the model id that embeddings carry.
        networks: loaded from that manifest.
        detect_side_px: frames are shrunk to this longer side for detection.
        limits: of pictures.
        gate: below which samples carry reasons.

    Raises:
        ArtifactError: the encoder was measured with another preprocessing than this version has.
    """

    def __init__(
        self,
        manifest: Manifest,
        networks: FaceNetworks,
        *,
        detect_side_px: int = DETECT_SIDE_PX,
        limits: DecodeLimits = DEFAULT_LIMITS,
        gate: QualityGate = DEFAULT_GATE,
    ) -> None:
        if manifest.preprocessing != PREPROCESSING_VERSION:
            raise ArtifactError(
                manifest.name,
                f"was made with preprocessing {manifest.preprocessing}; this version has {PREPROCESSING_VERSION}",
            )
        self.manifest = manifest
        self._networks = networks
        self._detect_side_px = detect_side_px
        self._limits = limits
        self._gate = gate

    @property
    def model_id(self) -> ModelId:
        """What its embeddings carry."""
        return self.manifest.model_id

    @property
    def device(self) -> torch.device:
        """Where its networks run."""
        return self._networks.device

    def run(
        self, data: bytes, options: EncodeOptions | None = None, known: Sequence[KnownTracklet] = ()
    ) -> EncodedFrame:
        """Encode one picture on the calling thread.

        Args:
            data: JPEG, PNG, WebP or BMP.
            options: what to find; everything by default.
            known: tracklets that need no new embedding.

        Raises:
            ImageRejectedError: the picture cannot be used.
        """
        return self.encode(self.prepare(data), options or EncodeOptions(), known)

    def prepare(self, data: bytes) -> PreparedFrame:
        """Decode a picture and shrink it for the detector; any thread may do it.

        Raises:
            ImageRejectedError: the picture cannot be used.
        """
        started_s = time.perf_counter()
        image = decode(data, self._limits)
        seen = detector_input(image, self._detect_side_px)
        return PreparedFrame(image, seen, _since_ms(started_s))

    def encode(self, frame: PreparedFrame, options: EncodeOptions, known: Sequence[KnownTracklet] = ()) -> EncodedFrame:
        """Detect, align, measure and embed; only the device's thread may do it.

        Args:
            frame: from `prepare`.
            options: what to find.
            known: tracklets that need no new embedding unless the sample is clearly better.
        """
        laps = _Laps(frame.decode_ms)
        candidates = self._find(frame, options, laps)
        _recognise(candidates, known)
        if options.with_embedding:
            best = {tracklet.tracklet_id: tracklet.best_quality for tracklet in known}
            self._embed_new([c for c in candidates if _needs_embedding(c, options, best)], laps)
        height_px, width_px = frame.image.shape[:2]
        return EncodedFrame(tuple(_seen(c) for c in candidates), height_px, width_px, laps.times())

    def embed(self, crops: Sequence[Image]) -> Vectors:
        """Embed aligned faces.

        Args:
            crops: n of (112, 112, 3), blue, green, red.

        Returns:
            float32 (n, d), each row of length 1.
        """
        values = torch.from_numpy(embedder_input(crops)).to(self.device, non_blocking=True)
        with torch.inference_mode():
            raw = self._networks.embedder(values)
            vectors: Vectors = torch.nn.functional.normalize(raw.float()).cpu().numpy()
        return vectors

    def warm_up(self) -> None:
        """Run every part once at usual sizes, so that the first caller does not pay for what is built on first use."""
        for height_px, width_px in _WARM_UP_SIZES_PX:
            image = np.zeros((height_px, width_px, 3), dtype=np.uint8)
            frame = PreparedFrame(image, detector_input(image, self._detect_side_px), 0.0)
            self.encode(frame, EncodeOptions())
        crop = np.zeros((self.manifest.crop_px, self.manifest.crop_px, 3), dtype=np.uint8)
        for faces in _WARM_UP_FACES:
            self.embed([crop] * faces)

    def _find(self, frame: PreparedFrame, options: EncodeOptions, laps: _Laps) -> list[_Candidate]:
        started_s = time.perf_counter()
        values = torch.from_numpy(frame.detector.values).to(self.device, non_blocking=True)
        with torch.inference_mode():
            output = self._networks.detector(values)[0].float().cpu().numpy()
        found = decode_faces(
            output,
            frame.detector.height_px,
            frame.detector.width_px,
            score_threshold=options.min_detection_probability,
        )
        areas = found.boxes[:, 2] * found.boxes[:, 3]
        largest = np.argsort(-areas, kind="stable")[: options.max_observations]
        laps.detect_ms = _since_ms(started_s)
        boxes, landmarks = found.boxes[largest] / frame.detector.scale, found.landmarks[largest] / frame.detector.scale
        rows = zip(boxes, landmarks, found.probabilities[largest], strict=True)
        return [self._measure(frame.image, *row, laps) for row in rows]

    def _measure(
        self, image: Image, box: Vectors, landmarks: Landmarks, probability: np.float32, laps: _Laps
    ) -> _Candidate:
        started_s = time.perf_counter()
        crop = align(image, landmarks)
        laps.align_ms += _since_ms(started_s)
        started_s = time.perf_counter()
        x_px, y_px, width_px, height_px = (float(value) for value in box)
        face = Box(x_px, y_px, width_px, height_px)
        quality = assess(crop, face, landmarks, float(probability), self._gate)
        laps.quality_ms += _since_ms(started_s)
        return _Candidate(face, landmarks.astype(np.float32), float(probability), crop, quality)

    def _embed_new(self, candidates: Sequence[_Candidate], laps: _Laps) -> None:
        started_s = time.perf_counter()
        for first in range(0, len(candidates), EMBED_BATCH):
            batch = candidates[first : first + EMBED_BATCH]
            for candidate, vector in zip(batch, self.embed([c.crop for c in batch]), strict=True):
                candidate.embedding = Embedding(vector, self.model_id)
        laps.embed_ms = _since_ms(started_s)


def _recognise(candidates: Sequence[_Candidate], known: Sequence[KnownTracklet]) -> None:
    """Give each known tracklet the face that overlaps its prediction most; the best overlaps choose first."""
    overlaps = [(c.box.iou(k.predicted_box), i, j) for i, c in enumerate(candidates) for j, k in enumerate(known)]
    taken: set[int] = set()
    for overlap, i, j in sorted(overlaps, reverse=True):
        if overlap < _SAME_FACE_IOU:
            break
        if candidates[i].tracklet_id is None and j not in taken:
            candidates[i].tracklet_id = known[j].tracklet_id
            taken.add(j)


def _needs_embedding(candidate: _Candidate, options: EncodeOptions, best: dict[TrackletId, float]) -> bool:
    if candidate.box.shorter_side_px < options.min_side_px:
        return False
    if candidate.tracklet_id is None:
        return True
    return candidate.quality.overall > best[candidate.tracklet_id] + CLEARLY_BETTER


def _seen(c: _Candidate) -> SeenFace:
    return SeenFace(Observation(c.box, c.landmarks, c.probability, c.quality, c.embedding), c.tracklet_id)


def _since_ms(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1e3
