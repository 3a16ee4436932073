"""Persons on their way through the encoder, on networks that see bright rectangles and tell colours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from encoder_svc.frames import EncodeOptions, Picture
from encoder_svc.persons.pipeline import SURE_OF_A_PERSON, PersonPipeline
from encoder_svc.scheduling.work import WorkClass
from encoder_svc.version import EncoderVersion, Parts
from tessera.client.stream_values import KnownTracklet
from tessera.domain.artifact import parse_manifest
from tessera.domain.embedding import Modality
from tessera.domain.errors import ArtifactError, ImageRejectedError, InvalidInputError
from tessera.domain.ids import TrackletId
from tessera.domain.observation import Box
from tessera.domain.reasons import Reason
from tessera.nets.artifact import SampleNetworks
from tests.encoder_world import LIMIT_S, NOTHING, Barrier, build_parts, left_over, manifest_named, see
from tests.encoder_world import pipeline_of as face_pipeline_of
from tests.eventually import eventually
from tests.person_world import (
    BLUE,
    GREEN,
    MANIFEST,
    PROBABILITY,
    RED,
    manifest_text,
    pipeline_of,
    png,
    scene,
    see_rectangles,
    tell_colours,
)

ADA, BOB, EVE = Box(64, 80, 80, 200), Box(320, 64, 96, 240), Box(520, 104, 64, 160)
THREE = png(scene([(ADA, RED), (BOB, GREEN), (EVE, BLUE)]))
EMPTY = png(scene([]))


def see_inside(batch: torch.Tensor) -> torch.Tensor:
    """The pretended detector's faces, moved into the picture from its upper edge."""
    output = see(batch)
    output[..., 2:4] = 1.0
    return output


@asynccontextmanager
async def serving(pipeline: PersonPipeline | None = None) -> AsyncIterator[tuple[EncoderVersion, EncoderVersion]]:
    """A face encoder and a person encoder behind one device's queues; at the end nothing may be left of any picture."""
    parts: Parts = build_parts(lanes=2)
    parts.scheduler.start()
    try:
        faces = EncoderVersion(face_pipeline_of(manifest_named("face-test"), see_inside), parts)
        yield faces, EncoderVersion(pipeline or pipeline_of(), parts)

        async def is_empty() -> bool:
            return left_over(parts) == NOTHING

        await eventually(is_empty)
    finally:
        await asyncio.to_thread(parts.scheduler.close)


def _near(box: Box, other: Box) -> bool:
    return box.iou(other) > 0.95


def test_persons_come_largest_first_with_their_boxes() -> None:
    """In pixels of the picture as it was sent, each with a unit embedding and no landmarks."""
    seen = pipeline_of().run(THREE).observations
    assert [_near(one.box, other) for one, other in zip(seen, (BOB, ADA, EVE), strict=True)] == [True] * 3
    for one in seen:
        assert one.embedding is not None
        assert one.embedding.model_id == MANIFEST.model_id
        assert np.linalg.norm(one.embedding.vector) == pytest.approx(1.0, abs=1e-5)
        assert one.detection_probability == pytest.approx(PROBABILITY)
        assert one.landmarks.shape == (0, 2)
        assert one.person is None


def test_a_crop_is_cut_from_where_the_person_is() -> None:
    """Whoever wears red is told from whoever wears green, and found again at another place."""
    first, second, _ = pipeline_of().run(THREE).observations
    (again,) = pipeline_of().run(png(scene([(Box(40, 100, 70, 180), GREEN)]))).observations
    assert first.embedding is not None
    assert second.embedding is not None
    assert again.embedding is not None
    assert first.embedding.vector @ again.embedding.vector > 0.99
    assert second.embedding.vector @ again.embedding.vector < 0.9


def test_small_persons_of_a_large_picture_are_cut_from_all_of_its_pixels() -> None:
    """A JPEG is decoded small for the detector; a person who is small in that is cut from the full picture."""
    child = Box(640, 320, 48, 120)
    picture = scene([(child, RED)], 720, 1280)
    picture[320:440:2, 640:688] = (250, 80, 250)  # stripes of one pixel, which half the size would mix
    ok, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 98])
    assert ok
    pipeline = pipeline_of()
    frame = pipeline.prepare(data.tobytes())
    assert frame.scaled.factor == 2
    found = pipeline.find(frame, pipeline.detect([frame.detector])[0], EncodeOptions())
    assert found.factor == 1
    assert _near(found.candidates[0].box, child)


def test_what_is_beyond_the_picture_belongs_to_nobody() -> None:
    """The detector's input has black rows below the picture; a box ends with the picture."""
    tall = Box(64, 200, 80, 145)
    (seen,) = pipeline_of().run(png(scene([(tall, RED)], 345, 500))).observations
    assert seen.box.y_px + seen.box.height_px <= 345.0
    assert Reason.CUT_OFF in seen.quality.reasons


def test_the_default_is_the_encoders_own() -> None:
    """Detections at or below what is asked for are not told; without a word, what the detector is sure of is."""
    assert SURE_OF_A_PERSON < PROBABILITY
    assert pipeline_of().run(THREE, EncodeOptions(min_detection_probability=PROBABILITY)).observations == ()
    assert len(pipeline_of().run(THREE, EncodeOptions(max_observations=2)).observations) == 2


def test_a_known_tracklet_is_not_embedded_again() -> None:
    """Seen where it is expected, and not clearly better."""
    known = [KnownTracklet(TrackletId("t-1"), ADA, 0.95)]
    samples = pipeline_of().run(THREE, known=known).samples
    assert [sample.tracklet_id for sample in samples] == [None, "t-1", None]
    assert [sample.observation.embedding is None for sample in samples] == [False, True, False]


async def test_the_service_gives_the_same_as_one_call() -> None:
    """Whatever batch a person was in."""
    expected = pipeline_of().run(THREE).observations
    async with serving() as (_, persons):
        pictures = [Picture(THREE, EncodeOptions(), WorkClass.INTERACTIVE) for _ in range(5)]
        frames = await asyncio.gather(*(persons.encode(one) for one in pictures))
    for frame in frames:
        for one, other in zip(frame.observations, expected, strict=True):
            assert one.embedding is not None
            assert other.embedding is not None
            np.testing.assert_allclose(one.embedding.vector, other.embedding.vector, atol=1e-6)


async def test_exactly_one_is_asked_for_in_the_words_of_persons() -> None:
    """NO_PERSON and EXCEEDS_MAX_PERSONS, not their faces'."""
    async with serving() as (_, persons):
        for data, reason in ((EMPTY, Reason.NO_PERSON), (THREE, Reason.EXCEEDS_MAX_PERSONS)):
            with pytest.raises(ImageRejectedError) as caught:
                await persons.only_sample(Picture(data, EncodeOptions(), WorkClass.INTERACTIVE), "image")
            assert caught.value.reason is reason
        alone = Picture(png(scene([(ADA, RED)])), EncodeOptions(), WorkClass.INTERACTIVE)
        assert (await persons.only_sample(alone, "image")).crop.shape == (128, 64, 3)


async def test_both_networks_are_warmed_up() -> None:
    """At the usual shapes and batch sizes."""
    async with serving() as (_, persons):
        await persons.warm_up()
        assert persons.under_way == 0


def test_another_preprocessing_is_refused() -> None:
    """An encoder that was trained on other crops would be wrong without a word."""
    with pytest.raises(ArtifactError, match="preprocessing"):
        pipeline_of(parse_manifest(manifest_text("person-0"), "manifest.json"))


# ---- faces and persons of one picture

FACES = 2
BOTH = Picture(
    png(np.maximum(scene([(Box(0, 0, 96, 200), RED)]), np.uint8(50 * FACES))),
    EncodeOptions(),
    WorkClass.INTERACTIVE,
    persons=EncodeOptions(),
)
"""The pretended detector of faces sees two near the upper left corner, and a person stands there."""


async def test_one_picture_gives_faces_and_persons_and_whose_they_are() -> None:
    """Each as its encoder alone gives them; a person has one face at most."""
    async with serving() as (faces, persons):
        frame = await faces.encode(BOTH, persons)
        alone = [await one.encode(replace(BOTH, persons=None)) for one in (faces, persons)]
    assert frame.persons is not None
    assert frame.persons.model_id == MANIFEST.model_id
    assert [one.observation.box for one in frame.persons.samples] == [one.box for one in alone[1].observations]
    assert [one.box for one in frame.observations] == [one.box for one in alone[0].observations]
    assert len(frame.observations) == FACES
    assert sorted(one.person is None for one in frame.observations) == [False, True]
    assert all(one.person is None for one in alone[0].observations)


async def test_it_is_decoded_once_for_both() -> None:
    """Both look at the same pixels, of one moment."""
    parts = build_parts(lanes=2)
    parts.scheduler.start()
    faces, persons = face_pipeline_of(manifest_named("face-test")), pipeline_of()
    decoded: list[str] = []
    for name, pipeline in (("faces", faces), ("persons", persons)):
        pipeline.prepare = _noting(name, pipeline.prepare, decoded)  # type: ignore[method-assign]
    try:
        frame = await EncoderVersion(faces, parts).encode(BOTH, EncoderVersion(persons, parts))
    finally:
        await asyncio.to_thread(parts.scheduler.close)
    assert decoded == ["faces"]
    assert frame.persons is not None


def _noting(name: str, call, noted: list[str]):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def prepare(data: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN202
        noted.append(name)
        return call(data)

    return prepare


async def test_tracklets_of_persons_and_of_faces_are_kept_apart() -> None:
    """A tracklet is recognised among what it is one of: without a word, among faces."""
    async with serving() as (faces, persons):
        frame = await faces.encode(BOTH, persons)
        assert frame.persons is not None
        place = frame.persons.samples[0].observation.box
        for modality, person_id in ((Modality.PERSON, "t-9"), (Modality.FACE, None), (None, None)):
            known = [KnownTracklet(TrackletId("t-9"), place, 1.0, modality)]
            again = await faces.encode(replace(BOTH, known=known), persons)
            assert again.persons is not None
            assert again.persons.samples[0].tracklet_id == person_id


async def test_persons_go_beside_faces_alone() -> None:
    """Persons beside persons are refused, and nothing is under way afterwards."""
    async with serving() as (_, persons):
        persons_route = persons._route
        persons._route = object()  # type: ignore[assignment]
        with pytest.raises(InvalidInputError, match="persons"):
            await persons.encode(BOTH, persons)
        persons._route = persons_route
        assert persons.under_way == 0


async def test_who_goes_away_half_way_leaves_nothing_of_both() -> None:
    """While one of the two detectors runs: neither way goes on, and no place is lost."""
    held = Barrier(see_rectangles)
    networks = SampleNetworks(held, tell_colours, torch.device("cpu"))
    async with serving(PersonPipeline(MANIFEST, networks)) as (faces, persons):
        asked = asyncio.create_task(faces.encode(BOTH, persons))
        assert await asyncio.to_thread(held.begun.wait, LIMIT_S)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        held.may_go.set()
        assert (faces.under_way, persons.under_way) == (0, 0)
