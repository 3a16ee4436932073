"""What is done with pictures, stage by stage: prepare, detect, find, embed. No queue, no deadline, no transport.

`FacePipeline.run` is the whole way of one picture in one call, for calibration and benchmarks. The service calls the
stages on different threads, and `detect` and `embed` with items of many pictures at once. Both give the same numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from encoder_svc.candidates import Candidate
from encoder_svc.faces.found import FoundFaces
from encoder_svc.faces.route import FaceRoute
from encoder_svc.frames import EncodedFrame, EncodeOptions
from encoder_svc.looking import PreparedFrame
from encoder_svc.pipeline import Route
from encoder_svc.two_stage import DetectorOutput, TwoStagePipeline, since_ms
from tessera.client.stream_values import KnownTracklet
from tessera.domain.artifact import Manifest
from tessera.domain.embedding import Vectors
from tessera.domain.observation import Box, Landmarks
from tessera.domain.saliency import Weights
from tessera.domain.templates import as_templates
from tessera.imaging.align import CROP_PX, align
from tessera.imaging.covering import blurred
from tessera.imaging.decode import DEFAULT_LIMITS, DecodeLimits, Image
from tessera.imaging.overlay import draw
from tessera.imaging.pad_crop import crop_around
from tessera.imaging.preprocess import (
    DETECT_SIDE_PX,
    PREPROCESSING_VERSION,
    embedder_input,
    views_input,
)
from tessera.imaging.quality import DEFAULT_GATE, QualityGate, assess
from tessera.imaging.refine import MIN_PROBABILITY, SIZES, VIEWS, cut_views, join_landmarks
from tessera.nets.artifact import SampleNetworks
from tessera.nets.minifasnet import PadNetwork
from tessera.nets.yunet import decode as decode_faces

SURE_OF_A_FACE = 0.7
"""What is reported where the caller names no probability."""


class FacePipeline(TwoStagePipeline):
    """The face encoder of one manifest.

    Args:
        manifest: names the model id that embeddings carry.
        networks: loaded from that manifest.
        detect_side_px: frames are shrunk to this longer side for detection.
        limits: of pictures.
        gate: below which samples carry reasons.
        pad: presentation-attack weights that somebody brought; None: nothing is said of liveness.

    Raises:
        ArtifactError: the encoder was measured with another preprocessing than this version has.
    """

    def __init__(
        self,
        manifest: Manifest,
        networks: SampleNetworks,
        *,
        detect_side_px: int = DETECT_SIDE_PX,
        limits: DecodeLimits = DEFAULT_LIMITS,
        gate: QualityGate = DEFAULT_GATE,
        pad: PadNetwork | None = None,
    ) -> None:
        super().__init__(
            manifest,
            networks,
            preprocessing=PREPROCESSING_VERSION,
            detect_side_px=detect_side_px,
            limits=limits,
        )
        self._gate = gate
        self._pad = pad

    def route(self, priority: int = 0) -> Route:
        """Its stages, for the scheduler of its device."""
        return FaceRoute(self, priority)

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
        frame = self.prepare(data)
        started_s = time.perf_counter()
        (output,) = self.detect([frame.detector])
        detect_ms = since_ms(started_s)
        found = self.find(frame, output, options or EncodeOptions(), known)
        if found.views:
            started_s = time.perf_counter()
            outputs = [self.look([view])[0] for view in found.views]
            detect_ms += since_ms(started_s)
            self.realign(found, outputs)
        if found.surroundings:
            self.give_liveness(found.wanted, self.judge(found.surroundings))
        return self.seen(frame, found, detect_ms, self.embed_wanted(found))

    def find(
        self,
        frame: PreparedFrame,
        output: DetectorOutput,
        options: EncodeOptions,
        known: Sequence[KnownTracklet] = (),
    ) -> FoundFaces:
        """Turn the detector's output into aligned and measured faces; any thread may do it.

        Args:
            frame: from `prepare`.
            output: of `detect` for this frame.
            options: what to find.
            known: tracklets that need no new embedding unless the sample is clearly better.
        """
        seen = frame.detector
        sure = options.min_detection_probability or SURE_OF_A_FACE
        found = decode_faces(output, seen.height_px, seen.width_px, score_threshold=sure)
        areas = found.boxes[:, 2] * found.boxes[:, 3]
        largest = np.argsort(-areas, kind="stable")[: options.max_observations]
        # In pixels of the picture as it was sent.
        pixels = np.float32(frame.scaled.factor / seen.scale)
        boxes, landmarks = found.boxes[largest] * pixels, found.landmarks[largest] * pixels
        faces = self._cut_from(frame, boxes)
        for row in zip(boxes, landmarks, found.probabilities[largest], strict=True):
            faces.candidates.append(self._measure(row, faces))
        faces.choose(options, known)
        self._cut_more(faces)
        return faces

    @property
    def refines(self) -> bool:
        """Whether its recipe takes a second, closer look at each face that is embedded."""
        return self.manifest.template.refined

    def look(self, views: Sequence[Image]) -> list[DetectorOutput]:
        """Show views of one size to the detector; only the device's threads may do it.

        Args:
            views: of `find`, of one face or of many.

        Returns:
            One (priors, 16) each, as `YuNet` gives it.
        """
        with torch.inference_mode():
            outputs: DetectorOutput = self._networks.detector(torch.from_numpy(views_input(views))).numpy()
        return list(outputs)

    def realign(self, found: FoundFaces, outputs: Sequence[DetectorOutput]) -> None:
        """Align the faces that are to be embedded by what the closer look gave; any thread may do it.

        Args:
            found: from `find`.
            outputs: of `look`, one for each of its views.
        """
        started_s = time.perf_counter()
        factor = np.float32(found.factor)
        seen = [
            decode_faces(output, view.shape[0], view.shape[1], score_threshold=MIN_PROBABILITY)
            for view, output in zip(found.views, outputs, strict=True)
        ]
        for at, candidate in enumerate(found.wanted):
            looked = [(faces.boxes, faces.landmarks) for faces in seen[VIEWS * at : VIEWS * (at + 1)]]
            joined = join_landmarks(candidate.landmarks / factor, looked)
            candidate.landmarks = joined * factor
            candidate.crop = align(found.image, joined)
        found.align_ms += since_ms(started_s)

    def judge(self, surroundings: Sequence[Image]) -> list[float]:
        """The probability that each shows a live face; only the device's threads may do it."""
        return [] if self._pad is None else [float(chance) for chance in self._pad.bona_fide(surroundings)]

    def embed(self, crops: Sequence[Image]) -> Vectors:
        """Embed aligned faces, of one picture or of many; only the device's threads may do it.

        Args:
            crops: n of (112, 112, 3), blue, green, red.

        Returns:
            float32 (n, d), each row of length 1.
        """
        recipe = self.manifest.template
        seen = [*crops, *(crop[:, ::-1] for crop in crops)] if recipe.mirrored else crops
        with torch.inference_mode():
            raw: Vectors = self._networks.embedder(torch.from_numpy(embedder_input(seen))).numpy()
        return as_templates(raw, len(crops), recipe.centre)

    def give_liveness(self, candidates: Sequence[Candidate], chances: Iterable[float]) -> None:
        """Put to each face what presentation-attack weights say."""
        for candidate, chance in zip(candidates, chances, strict=True):
            candidate.bona_fide_probability = chance

    def without_features(self, crop: Image) -> Image:
        """What covers a part of a face in an explanation: the face, blurred."""
        return blurred(crop)

    def overlay(self, data: bytes, crop: Image, weights: Weights) -> bytes:  # noqa: ARG002 - a face is shown aligned
        """A PNG of the aligned face with a map over it."""
        return draw(crop, weights)

    def blank_views(self) -> tuple[Image, ...]:
        """Black views of the closer look, one of each size, for warming up."""
        return tuple(np.zeros((side_px, side_px, 3), dtype=np.uint8) for side_px, _ in SIZES)

    def _cut_from(self, frame: PreparedFrame, boxes: Vectors) -> FoundFaces:
        """What to cut faces from: the full picture when one of them is smaller than its aligned square."""
        smallest_px = CROP_PX * frame.scaled.factor
        started_s = time.perf_counter()
        image, factor = frame.image_for(full=bool(len(boxes)) and boxes[:, 2:].min() < smallest_px)
        return FoundFaces(image, factor, decode_ms=since_ms(started_s))

    def _cut_more(self, faces: FoundFaces) -> None:
        """Cut what else the networks look at of the faces that are to be embedded."""
        started_s = time.perf_counter()
        if self.refines:
            factor = np.float32(faces.factor)
            faces.views = [view for c in faces.wanted for view in cut_views(faces.image, c.landmarks / factor)]
        if self._pad is not None:
            boxes = [candidate.box.scaled(1.0 / faces.factor) for candidate in faces.wanted]
            faces.surroundings = [crop_around(faces.image, box, self._pad.scale) for box in boxes]
        faces.align_ms += since_ms(started_s)

    def _measure(self, row: tuple[Vectors, Landmarks, np.float32], faces: FoundFaces) -> Candidate:
        box, landmarks, probability = row
        started_s = time.perf_counter()
        crop = align(faces.image, landmarks / np.float32(faces.factor))
        faces.align_ms += since_ms(started_s)
        started_s = time.perf_counter()
        x_px, y_px, width_px, height_px = (float(value) for value in box)
        face = Box(x_px, y_px, width_px, height_px)
        quality = assess(
            crop, face, landmarks, float(probability), self._gate, picture=faces.image, factor=faces.factor
        )
        faces.quality_ms += since_ms(started_s)
        return Candidate(face, landmarks.astype(np.float32), float(probability), crop, quality)
