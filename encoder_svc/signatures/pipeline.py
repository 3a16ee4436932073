"""What is done with pictures of signatures, stage by stage: find, embed. No queue, no deadline, no transport.

`SignaturePipeline.run` is the whole way of one picture in one call. There is no network that detects: ink is told from
paper and print from handwriting by rules, so a picture costs one small network for each signature on it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from encoder_svc.frames import EncodedFrame, EncodeOptions, SeenSample
from encoder_svc.looking import decoded_bytes
from encoder_svc.pipeline import Route
from encoder_svc.signatures.found import FoundSignature, FoundSignatures
from encoder_svc.signatures.route import SIGNATURE_BATCH, SignatureRoute
from tessera.client.stream_values import StageTimes
from tessera.domain.artifact import Manifest
from tessera.domain.embedding import Embedding, Vector, Vectors
from tessera.domain.errors import ArtifactError
from tessera.domain.ids import ModelId
from tessera.domain.observation import Box, Observation
from tessera.domain.reasons import Reason
from tessera.domain.saliency import Weights
from tessera.domain.templates import as_templates
from tessera.imaging.decode import DEFAULT_LIMITS, DecodeLimits, Image, decode_for_detection
from tessera.imaging.signature import (
    SIGNATURE_PREPROCESSING,
    PreparedSignature,
    prepare_signature,
    signature_input,
)
from tessera.imaging.signature_quality import signature_quality
from tessera.imaging.signature_regions import SignatureRegion, cut_region, find_signatures
from tessera.imaging.stroke_overlay import draw_strokes
from tessera.nets.signature import SignatureNetworks

PAGE_SIDE_PX = 2048
"""A JPEG is decoded no larger than this longer side needs: a signature on an A4 page then has some 500 pixels."""

SURE_OF_A_SIGNATURE = 0.7
"""What is reported where the caller names no probability."""

_NO_LANDMARKS = np.empty((0, 2), np.float32)
_PAPER = 255


class SignaturePipeline:
    """The signature encoder of one manifest.

    Args:
        manifest: names the model id that embeddings carry.
        networks: loaded from that manifest.
        limits: of pictures.

    Raises:
        ArtifactError: the encoder was trained with another preprocessing than this version has.
    """

    def __init__(
        self, manifest: Manifest, networks: SignatureNetworks, *, limits: DecodeLimits = DEFAULT_LIMITS
    ) -> None:
        if manifest.preprocessing != SIGNATURE_PREPROCESSING:
            raise ArtifactError(
                manifest.name,
                f"was made with preprocessing {manifest.preprocessing}; this version has {SIGNATURE_PREPROCESSING}",
            )
        self.manifest = manifest
        self._networks = networks
        self._limits = limits

    @property
    def model_id(self) -> ModelId:
        """What its embeddings carry."""
        return self.manifest.model_id

    @property
    def device(self) -> torch.device:
        """Where its network runs."""
        return self._networks.device

    @property
    def runtime(self) -> str:
        """What runs its network."""
        return self._networks.runtime.value

    def route(self, priority: int = 0) -> Route:
        """Its stages, for the scheduler of its device."""
        return SignatureRoute(self, priority)

    def run(self, data: bytes, options: EncodeOptions | None = None) -> EncodedFrame:
        """Encode one picture on the calling thread.

        Args:
            data: JPEG, PNG, WebP or BMP.
            options: what to find; everything by default.

        Raises:
            ImageRejectedError: the picture cannot be used.
        """
        options = options or EncodeOptions()
        found = self.find(data, options)
        started_s = time.perf_counter()
        wanted = [one.crop for one in found.signatures if self.wanted(one, options)]
        rows: list[Vector] = []
        for first in range(0, len(wanted), SIGNATURE_BATCH):
            rows.extend(self.embed(wanted[first : first + SIGNATURE_BATCH]))
        return self.seen(found, options, rows, _since_ms(started_s))

    def decoded_bytes(self, data: bytes) -> int:
        """How much memory decoding the picture will take, from its header.

        Raises:
            ImageRejectedError: the header cannot be read.
        """
        return decoded_bytes(data, self._limits)

    def find(self, data: bytes, options: EncodeOptions) -> FoundSignatures:
        """Decode a picture and lay what was signed on canvases; any thread may do it.

        Raises:
            ImageRejectedError: the picture cannot be used.
        """
        started_s = time.perf_counter()
        scaled = decode_for_detection(data, self._limits, PAGE_SIDE_PX)
        decode_ms, started_s = _since_ms(started_s), time.perf_counter()
        regions = find_signatures(scaled.image, options.max_observations)
        find_ms, started_s = _since_ms(started_s), time.perf_counter()
        found = [self._prepared(scaled.image, region, scaled.factor) for region in regions]
        sure = [one for one in found if _is_told(one, options)]
        return FoundSignatures(tuple(sure), scaled.height_px, scaled.width_px, decode_ms, find_ms, _since_ms(started_s))

    @staticmethod
    def wanted(found: FoundSignature, options: EncodeOptions) -> bool:
        """Whether a signature is to be embedded."""
        return options.with_embedding and found.box.shorter_side_px >= options.min_side_px

    def embed(self, crops: Sequence[Image]) -> Vectors:
        """Embed canvases; only the device's threads may do it.

        Args:
            crops: n of (height, width, 3), black ink on white paper.

        Returns:
            float32 (n, d), each row of length 1.
        """
        canvases = np.stack([_PAPER - crop[..., 0] for crop in crops])
        with torch.inference_mode():
            raw: Vectors = self._networks.embedder(torch.from_numpy(signature_input(canvases))).numpy()
        return as_templates(raw, len(crops), self.manifest.template.centre)

    def seen(
        self, found: FoundSignatures, options: EncodeOptions, rows: Sequence[Vector], embed_ms: float
    ) -> EncodedFrame:
        """The answer, once all is known.

        Args:
            found: from `find`.
            options: of the picture.
            rows: the embedding of each signature that was wanted, in order.
            embed_ms: what they took.
        """
        left = iter(rows)
        samples = tuple(
            self._sample(one, next(left) if self.wanted(one, options) else None) for one in found.signatures
        )
        times = StageTimes(
            decode_ms=found.decode_ms,
            detect_ms=found.find_ms,
            align_ms=found.prepare_ms,
            embed_ms=embed_ms,
            total_ms=found.decode_ms + found.find_ms + found.prepare_ms + embed_ms,
        )
        return EncodedFrame(samples, found.height_px, found.width_px, times)

    def without_features(self, crop: Image) -> Image:
        """What covers a part of a canvas in an explanation: paper."""
        return np.full_like(crop, _PAPER)

    def overlay(self, data: bytes, crop: Image, weights: Weights) -> bytes:
        """A PNG of the signature as it was sent, upright, with a map over its strokes."""
        image = decode_for_detection(data, self._limits, PAGE_SIDE_PX).image
        for region in find_signatures(image):
            cut = cut_region(image, region)
            prepared = prepare_signature(cut)
            if np.array_equal(_as_seen(prepared), crop):
                return draw_strokes(cut, prepared, weights)
        raise RuntimeError("a signature that was seen in this picture is not there any more")

    def blank_crop(self) -> Image:
        """An empty canvas, for warming up."""
        size = self.manifest.crop
        return np.full((size.height_px, size.width_px, 3), _PAPER, np.uint8)

    def _sample(self, one: FoundSignature, row: Vector | None) -> SeenSample:
        embedding = None if row is None else Embedding(row, self.model_id)
        return SeenSample(Observation(one.box, _NO_LANDMARKS, one.probability, one.quality, embedding))

    @staticmethod
    def _prepared(image: Image, region: SignatureRegion, factor: int) -> FoundSignature:
        cut = cut_region(image, region)
        prepared = prepare_signature(cut)
        quality = signature_quality(cut, prepared, factor, region.reasons)
        left, top, width, height = region.box_px
        box = Box(float(left), float(top), float(width), float(height)).scaled(float(factor))
        return FoundSignature(box, region.probability, quality, _as_seen(prepared))


def _as_seen(prepared: PreparedSignature) -> Image:
    """A canvas as people see it: black ink on white paper."""
    return np.repeat((_PAPER - prepared.canvas)[..., None], 3, 2)


def _is_told(one: FoundSignature, options: EncodeOptions) -> bool:
    """Print is told as print where nothing was written: a page without a signature is another mistake."""
    return (
        one.probability > (options.min_detection_probability or SURE_OF_A_SIGNATURE)
        or Reason.PRINTED_TEXT in one.quality.reasons
    )


def _since_ms(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1e3
