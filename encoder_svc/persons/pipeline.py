"""What is done with pictures in which persons are looked for, stage by stage: prepare, detect, find, embed.

`PersonPipeline.run` is the whole way of one picture in one call. The service calls the stages on different threads;
both give the same numbers. The detector sees what the detector of faces sees, so one decoding does for both.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from encoder_svc.candidates import Candidate, FoundSamples
from encoder_svc.frames import EncodedFrame, EncodeOptions
from encoder_svc.looking import PreparedFrame
from encoder_svc.persons.route import PersonRoute
from encoder_svc.pipeline import Route
from encoder_svc.two_stage import DetectorOutput, TwoStagePipeline, since_ms
from tessera.client.stream_values import KnownTracklet
from tessera.domain.artifact import Manifest
from tessera.domain.embedding import Vectors
from tessera.domain.observation import Box
from tessera.domain.saliency import Weights
from tessera.domain.templates import as_templates
from tessera.imaging.covering import blurred
from tessera.imaging.decode import DEFAULT_LIMITS, DecodeLimits, Image
from tessera.imaging.overlay import draw
from tessera.imaging.person import CROP_HEIGHT_PX, CROP_WIDTH_PX, PERSON_PREPROCESSING, crop_person, person_input
from tessera.imaging.person_quality import DEFAULT_PERSON_GATE, PersonGate, person_quality
from tessera.imaging.preprocess import DETECT_SIDE_PX
from tessera.nets.artifact import SampleNetworks
from tessera.nets.nanodet import decode as decode_persons

SURE_OF_A_PERSON = 0.4
"""What is reported where the caller names no probability: NanoDet's own demonstrations show what is above 0.35."""

_NO_LANDMARKS = np.empty((0, 2), np.float32)


class PersonPipeline(TwoStagePipeline):
    """The person encoder of one manifest.

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
        networks: SampleNetworks,
        *,
        detect_side_px: int = DETECT_SIDE_PX,
        limits: DecodeLimits = DEFAULT_LIMITS,
        gate: PersonGate = DEFAULT_PERSON_GATE,
    ) -> None:
        super().__init__(
            manifest, networks, preprocessing=PERSON_PREPROCESSING, detect_side_px=detect_side_px, limits=limits
        )
        self._gate = gate

    def route(self, priority: int = 0) -> Route:
        """Its stages, for the scheduler of its device."""
        return PersonRoute(self, priority)

    def run(
        self, data: bytes, options: EncodeOptions | None = None, known: Sequence[KnownTracklet] = ()
    ) -> EncodedFrame:
        """Encode one picture on the calling thread.

        Args:
            data: JPEG, PNG, WebP or BMP.
            options: what to find; by default as the contract says.
            known: tracklets that need no new embedding.

        Raises:
            ImageRejectedError: the picture cannot be used.
        """
        frame = self.prepare(data)
        started_s = time.perf_counter()
        (output,) = self.detect([frame.detector])
        detect_ms = since_ms(started_s)
        found = self.find(frame, output, options or EncodeOptions(), known)
        return self.seen(frame, found, detect_ms, self.embed_wanted(found))

    def find(
        self,
        frame: PreparedFrame,
        output: DetectorOutput,
        options: EncodeOptions,
        known: Sequence[KnownTracklet] = (),
    ) -> FoundSamples:
        """Turn the detector's output into cut and measured persons; any thread may do it.

        Args:
            frame: from `prepare`.
            output: of `detect` for this frame.
            options: what to find.
            known: tracklets that need no new embedding unless the sample is clearly better.
        """
        seen = frame.detector
        sure = options.min_detection_probability or SURE_OF_A_PERSON
        found = decode_persons(output, seen.height_px, seen.width_px, score_threshold=sure)
        boxes = [_within(row, frame) for row in found.boxes]
        order = sorted(range(len(boxes)), key=lambda at: -boxes[at].area_px)[: options.max_observations]
        chosen = [at for at in order if boxes[at].shorter_side_px >= 1.0]
        persons = self._cut_from(frame, [boxes[at] for at in chosen])
        for at in chosen:
            others = [boxes[other] for other in range(len(boxes)) if other != at]
            persons.candidates.append(self._measure(boxes[at], float(found.probabilities[at]), others, frame, persons))
        persons.choose(options, known)
        return persons

    def embed(self, crops: Sequence[Image]) -> Vectors:
        """Embed persons, of one picture or of many; only the device's threads may do it.

        Args:
            crops: n of (128, 64, 3), blue, green, red.

        Returns:
            float32 (n, d), each row of length 1.
        """
        recipe = self.manifest.template
        seen = [*crops, *(crop[:, ::-1] for crop in crops)] if recipe.mirrored else crops
        with torch.inference_mode():
            raw: Vectors = self._networks.embedder(torch.from_numpy(person_input(seen))).numpy()
        return as_templates(raw, len(crops), recipe.centre)

    def without_features(self, crop: Image) -> Image:
        """What covers a part of a person in an explanation: the person, blurred."""
        return blurred(crop)

    def overlay(self, data: bytes, crop: Image, weights: Weights) -> bytes:  # noqa: ARG002 - shown as it was cut
        """A PNG of the person as cut, with a map over it."""
        return draw(crop, weights)

    def _cut_from(self, frame: PreparedFrame, boxes: Sequence[Box]) -> FoundSamples:
        """What to cut persons from: the full picture when one of them is smaller than a crop in what was decoded."""
        started_s = time.perf_counter()
        factor = frame.scaled.factor
        small = any(box.height_px < CROP_HEIGHT_PX * factor or box.width_px < CROP_WIDTH_PX * factor for box in boxes)
        image, factor = frame.image_for(full=small)
        return FoundSamples(image, factor, decode_ms=since_ms(started_s))

    def _measure(
        self, box: Box, probability: float, others: Sequence[Box], frame: PreparedFrame, persons: FoundSamples
    ) -> Candidate:
        started_s = time.perf_counter()
        cut = box.scaled(1.0 / persons.factor)
        crop = crop_person(persons.image, (cut.x_px, cut.y_px, cut.width_px, cut.height_px))
        persons.align_ms += since_ms(started_s)
        started_s = time.perf_counter()
        size = (frame.scaled.height_px, frame.scaled.width_px)
        quality = person_quality(crop, box, probability, picture_px=size, others=others, gate=self._gate)
        persons.quality_ms += since_ms(started_s)
        return Candidate(box, _NO_LANDMARKS, probability, crop, quality)


def _within(row: Vectors, frame: PreparedFrame) -> Box:
    """A box of the detector in pixels of the picture as it was sent; the black beyond it belongs to nobody."""
    pixels = frame.scaled.factor / frame.detector.scale
    left, top, width, height = (float(value) * pixels for value in row)
    right, lower = min(left + width, frame.scaled.width_px), min(top + height, frame.scaled.height_px)
    return Box(left, top, right - left, lower - top)
