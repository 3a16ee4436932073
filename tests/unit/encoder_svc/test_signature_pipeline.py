"""Signatures on their way through the encoder, on a network that only looks where ink is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import cv2
import numpy as np
import pytest
import torch

from encoder_svc.frames import EncodeOptions, Picture
from encoder_svc.scheduling.work import WorkClass
from encoder_svc.signatures.pipeline import SignaturePipeline
from encoder_svc.version import EncoderVersion, Parts
from tessera.demo.signatures import draw, invent_hand, sign
from tessera.domain.artifact import load_manifest, parse_manifest
from tessera.domain.embedding import Modality
from tessera.domain.errors import ArtifactError, ImageRejectedError
from tessera.domain.reasons import Reason
from tessera.imaging.signature import CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX
from tessera.nets.signature import SignatureNetworks
from tests.encoder_world import NOTHING, build_parts, left_over
from tests.eventually import eventually
from tests.signature_world import manifest_text, pipeline_of, where_ink_is


def signatures(count: int, seed: int = 1) -> list[bytes]:
    """PNG files of one invented hand."""
    rng = np.random.default_rng(seed)
    hand = invent_hand(rng)
    return [_png(draw(sign(hand, rng))) for _ in range(count)]


def _png(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


EMPTY_PAPER = _png(np.full((400, 1000, 3), 250, np.uint8))


@asynccontextmanager
async def version() -> AsyncIterator[EncoderVersion]:
    """A version behind real queues; at the end nothing may be left of any picture."""
    parts: Parts = build_parts()
    parts.scheduler.start()
    try:
        yield EncoderVersion(pipeline_of(), parts)

        async def is_empty() -> bool:
            return left_over(parts) == NOTHING

        await eventually(is_empty)
    finally:
        await asyncio.to_thread(parts.scheduler.close)


def test_a_signature_becomes_one_unit_embedding() -> None:
    """With the box of its strokes in pixels of the picture, and measures in their ranges."""
    (seen,) = pipeline_of().run(signatures(1)[0]).observations
    assert seen.embedding is not None
    assert np.linalg.norm(seen.embedding.vector) == pytest.approx(1.0, abs=1e-5)
    assert 0.0 <= seen.box.x_px < seen.box.x_px + seen.box.width_px <= 1000.0
    assert 0.0 <= seen.box.y_px < seen.box.y_px + seen.box.height_px <= 400.0
    quality = seen.quality
    assert all(0.0 <= one <= 1.0 for one in (quality.sharpness, quality.contrast, quality.size, quality.overall))
    assert quality.reasons == ()
    assert seen.landmarks.shape == (0, 2)


def test_two_signatures_of_a_hand_are_more_alike_than_of_two_hands() -> None:
    """The preparation keeps what tells hands apart, even for so plain a network."""
    one, again = (pipeline_of().run(data).observations[0].embedding for data in signatures(2))
    (other,) = pipeline_of().run(signatures(1, seed=2)[0]).observations
    assert one is not None
    assert again is not None
    assert other.embedding is not None
    assert one.vector @ again.vector > one.vector @ other.embedding.vector


def test_empty_paper_has_none() -> None:
    """No observation, and no work for the network."""
    assert pipeline_of().run(EMPTY_PAPER).observations == ()


def test_faint_ink_is_told() -> None:
    """Measured and told; the gate of a collection decides."""
    rng = np.random.default_rng(1)
    pale = _png(draw(sign(invent_hand(rng), rng), ink=(228, 228, 228)))
    assert all(Reason.FAINT_INK in seen.quality.reasons for seen in pipeline_of().run(pale).observations)


def test_without_embedding_only_the_place_is_told() -> None:
    """As for faces."""
    (seen,) = pipeline_of().run(signatures(1)[0], EncodeOptions(with_embedding=False)).observations
    assert seen.embedding is None


async def test_the_service_gives_the_same_as_one_call() -> None:
    """Whatever batch a signature was in."""
    files = signatures(5)
    expected = [pipeline_of().run(data).observations[0].embedding for data in files]
    async with version() as serving:
        pictures = [Picture(data, EncodeOptions(), WorkClass.INTERACTIVE) for data in files]
        frames = await asyncio.gather(*(serving.encode(one) for one in pictures))
    for frame, embedding in zip(frames, expected, strict=True):
        assert embedding is not None
        (seen,) = frame.observations
        assert seen.embedding is not None
        np.testing.assert_allclose(seen.embedding.vector, embedding.vector, atol=1e-6)


async def test_exactly_one_is_asked_for_in_the_words_of_signatures() -> None:
    """NO_SIGNATURE, not NO_FACE."""
    async with version() as serving:
        picture = Picture(EMPTY_PAPER, EncodeOptions(), WorkClass.INTERACTIVE)
        with pytest.raises(ImageRejectedError, match="no signature is seen") as caught:
            await serving.only_sample(picture, "image")
        assert caught.value.reason is Reason.NO_SIGNATURE
        picture = Picture(signatures(1)[0], EncodeOptions(), WorkClass.INTERACTIVE)
        sample = await serving.only_sample(picture, "image")
        assert sample.crop.shape == (CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX, 3)


async def test_warming_up_needs_no_detector() -> None:
    """The one network, at its batch sizes."""
    async with version() as serving:
        await serving.warm_up()
        assert serving.under_way == 0


def test_another_preprocessing_is_refused() -> None:
    """An encoder that was trained on other canvases would be wrong without a word."""
    manifest = parse_manifest(manifest_text("signature-0"), "manifest.json")
    with pytest.raises(ArtifactError, match="preprocessing"):
        SignaturePipeline(manifest, SignatureNetworks(where_ink_is, torch.device("cpu")))


def test_an_explanation_covers_with_paper() -> None:
    """A canvas without strokes, which the network sees as nothing."""
    crop = np.zeros((CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX, 3), np.uint8)
    assert (pipeline_of().without_features(crop) == 255).all()


def test_the_manifest_is_of_signatures() -> None:
    """A face encoder's manifest stays one."""
    assert parse_manifest(manifest_text(), "manifest.json").modality is Modality.SIGNATURE
    assert load_manifest("face-sface-1").modality is Modality.FACE
