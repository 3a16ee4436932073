"""Explanations on pretended networks: where maps light up, whom they keep waiting, and what stops them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import pytest
import torch

from encoder_svc.encoders import EncoderFacts, Encoders
from encoder_svc.explaining import Explainer, ExplainQuestion
from encoder_svc.faces.pipeline import FacePipeline
from encoder_svc.frames import EncodeOptions, Picture
from encoder_svc.scheduling.forming import BatchRules
from encoder_svc.scheduling.work import WorkClass
from encoder_svc.version import Parts
from tessera.chassis.clock import ManualClock
from tessera.domain.embedding import Embedding
from tessera.domain.errors import (
    ExpiredError,
    ImageRejectedError,
    InvalidInputError,
    ModelMismatchError,
    OverloadedError,
    UnavailableError,
)
from tessera.domain.ids import ModelId
from tessera.domain.reasons import Reason
from tests.encoder_world import LIMIT_S, NOTHING, NOW, HeldDevice, build_parts, left_over, manifest_named, pipeline_of
from tests.eventually import eventually

SIDE_PX = 64
MIDDLE = 36
"""The prior of stride 8 in the middle of a picture of 64 x 64."""
MANIFEST = manifest_named("face-test")
DARK, BRIGHT = 90, 160
ONE_BY_ONE = BatchRules(slice_s=0.0, linger_share=0.0, source_frames=100)


def noise(seed: int = 0, mean: int = DARK, faces: int = 1) -> bytes:
    """A picture without two equal parts; the detector of these tests sees so many faces in it."""
    pixels = np.random.default_rng(seed).integers(mean - 60, mean + 60, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    pixels[0, 0] = 50 * faces
    ok, data = cv2.imencode(".bmp", pixels)
    assert ok
    return data.tobytes()


def see_in_the_middle(batch: torch.Tensor) -> torch.Tensor:
    """A detector that finds faces as its first pixel says, around the middle, each as large as the picture."""
    n, _, height_px, width_px = batch.shape
    output = torch.zeros(n, sum((height_px // s) * (width_px // s) for s in (8, 16, 32)), 16)
    for row in range(n):
        for face in range(round(float(batch[row, 0, 0, 0]) / 50)):
            output[row, MIDDLE + 3 * face, :2] = 1.0
            output[row, MIDDLE + 3 * face, 6:] = torch.tensor([-1.0, -1.0, 1.0, -1.0, 0.0, 0.0, -0.9, 1.1, 0.9, 1.1])
    return output


@dataclass
class Corner:
    """An embedder that looks at one cell of 14 x 14 and at nothing else, and remembers its batches."""

    row: int = 0
    column: int = 0
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    """Each picture of a batch takes a second of it, so that a lane takes one at a time."""
    batches: list[torch.Tensor] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    may_go: threading.Event = field(default_factory=threading.Event)
    hold_at: int = -1
    """It waits in this batch, from 0: the first two are of the reference and of the picture itself."""

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """What lies in that cell."""
        self.batches.append(batch.clone())
        self.clock.advance(len(batch))
        if len(self.batches) - 1 == self.hold_at:
            self.held.set()
            assert self.may_go.wait(LIMIT_S)
        cell = batch[:, :2, 8 * self.row : 8 * self.row + 8, 8 * self.column : 8 * self.column + 8]
        return cell.reshape(len(batch), -1) - 128.0


@dataclass
class World:
    """An encoder that is ready, and what explains its scores."""

    parts: Parts
    encoders: Encoders
    explainer: Explainer
    model_id: ModelId

    def value(self, name: str, **labels: str) -> float:
        """What a metric shows."""
        return self.parts.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def explaining(embedder: Corner, *, limit: int = 4) -> AsyncIterator[World]:
    """One lane whose batches hold one picture; at the end nothing may be left of anything."""
    parts = build_parts(lanes=1, window=1, limit=limit, rules=ONE_BY_ONE, clock=embedder.clock)
    pipeline = pipeline_of(MANIFEST, see_in_the_middle, embedder)

    async def load(_: EncoderFacts) -> FacePipeline:
        return pipeline

    encoders = Encoders(lambda _: EncoderFacts(MANIFEST, ""), load, parts)
    hold_at, embedder.hold_at = embedder.hold_at, -1  # not in the warm-up
    parts.scheduler.start()
    encoders.load(MANIFEST.name)
    await encoders.loaded()
    embedder.batches.clear()
    embedder.hold_at = hold_at
    try:
        yield World(parts, encoders, Explainer(encoders, parts), MANIFEST.model_id)
        embedder.may_go.set()
        await eventually(lambda: _nothing_left(parts))
    finally:
        embedder.may_go.set()
        await encoders.close()


async def _nothing_left(parts: Parts) -> bool:
    return left_over(parts) == NOTHING


async def _held(embedder: Corner) -> None:
    assert await asyncio.to_thread(embedder.held.wait, LIMIT_S)


QUESTION = ExplainQuestion(noise(), noise())
SMALL = replace(QUESTION, grid=6)


# ---- the map


@pytest.mark.parametrize("cell", [(0, 0), (0, 13), (13, 0), (13, 13), (6, 4)])
async def test_an_encoder_that_looks_at_one_corner_lights_up_that_corner(cell: tuple[int, int]) -> None:
    """There the map is 1 and what is two cells away is 0: the covering is where the network looks, to the pixel."""
    async with explaining(Corner(*cell)) as world:
        explanation = await world.explainer.explain(QUESTION)
    weights = explanation.map.weights
    rows, columns = np.indices(weights.shape)
    away = np.maximum(abs(rows - cell[0]), abs(columns - cell[1]))
    assert weights.shape == (14, 14)
    assert weights[cell] == 1.0
    assert abs(weights[away >= 2]).max() == 0.0
    assert explanation.map.faithfulness > 1.5
    assert explanation.model_id == world.model_id
    assert explanation.map.overlay_png.startswith(b"\x89PNG")


async def test_a_map_is_as_fine_as_it_was_asked_for() -> None:
    """A grid of 28 has cells of four pixels: the corner is four of them."""
    async with explaining(Corner(13, 0)) as world:
        weights = (await world.explainer.explain(replace(QUESTION, grid=28))).map.weights
    assert weights.shape == (28, 28)
    assert weights[26:, :2].min() > 0.1
    assert abs(weights[:25]).max() == abs(weights[:, 3:]).max() == 0.0


async def test_a_reference_may_be_an_embedding() -> None:
    """The same map as with the picture that it was made of."""
    async with explaining(Corner()) as world:
        seen = await world.encoders.encode(Picture(noise(1), EncodeOptions(), WorkClass.INTERACTIVE))
        embedding = seen.observations[0].embedding
        assert embedding is not None
        by_picture = await world.explainer.explain(ExplainQuestion(noise(), noise(1)))
        by_embedding = await world.explainer.explain(ExplainQuestion(noise(), embedding))
    np.testing.assert_allclose(by_embedding.map.weights, by_picture.map.weights, atol=1e-4)


async def test_what_is_told_of_the_face_holds_no_embedding() -> None:
    """Box and quality, and no vector: a score could be computed from it."""
    async with explaining(Corner()) as world:
        seen = (await world.explainer.explain(SMALL)).observation
    assert seen.embedding is None
    assert seen.box.area_px > 0


# ---- what is refused


@pytest.mark.parametrize(("faces", "reason"), [(0, Reason.NO_FACE), (2, Reason.EXCEEDS_MAX_FACES)])
@pytest.mark.parametrize("field_name", ["image", "reference.image"])
async def test_each_picture_has_exactly_one_face(faces: int, reason: Reason, field_name: str) -> None:
    """None and two are refused, and the error says in which picture; no part was covered for it."""
    pictures = {"image": noise(), "reference.image": noise()} | {field_name: noise(faces=faces)}
    embedder = Corner()
    async with explaining(embedder) as world:
        with pytest.raises(ImageRejectedError) as caught:
            await world.explainer.explain(ExplainQuestion(pictures["image"], pictures["reference.image"]))
        failed = {"work_class": "explanation", "outcome": "failed", "reason": reason.value}
        assert world.value("tessera_encoder_frames_total", **failed) == 1
    assert (caught.value.reason, caught.value.field) == (reason, field_name)
    assert sum(map(len, embedder.batches)) <= 3


async def test_a_reference_of_another_model_is_refused_before_anything_is_done() -> None:
    """Scores of two models cannot be compared, nor a vector of another length."""
    embedder = Corner()
    async with explaining(embedder) as world:
        with pytest.raises(ModelMismatchError, match="reference"):
            await world.explainer.explain(ExplainQuestion(noise(), Embedding.from_raw([1.0] * 128, ModelId("x@1"))))
        with pytest.raises(InvalidInputError, match=r"reference\.embedding"):
            await world.explainer.explain(ExplainQuestion(noise(), Embedding.from_raw([1.0] * 64, world.model_id)))
        with pytest.raises(InvalidInputError, match="grid"):
            await world.explainer.explain(replace(QUESTION, grid=29))
    assert not embedder.batches


async def test_one_too_many_is_refused() -> None:
    """One is explained, one waits; the third is told that the queue is full."""
    embedder = Corner(hold_at=2)
    async with explaining(embedder, limit=1) as world:
        first = asyncio.create_task(world.explainer.explain(SMALL))
        await _held(embedder)
        second = asyncio.create_task(world.explainer.explain(SMALL))
        gauge = {"work_class": "explanation"}
        await eventually(lambda: _is(world.value("tessera_encoder_queue_depth", **gauge), 1))
        with pytest.raises(OverloadedError):
            await world.explainer.explain(SMALL)
        overflow = {"work_class": "explanation", "policy": "refuse_newest"}
        assert world.value("tessera_encoder_queue_overflows_total", **overflow) == 1
        embedder.may_go.set()
        assert [(await one).map.weights[0, 0] for one in (first, second)] == [1.0, 1.0]


async def _is(value: float, wanted: float) -> bool:
    return value == wanted


# ---- whom it keeps waiting


def _is_bright(batch: torch.Tensor) -> list[bool]:
    return [float(crop.mean()) > (DARK + BRIGHT) / 2 for crop in batch]


@pytest.mark.parametrize("work_class", [WorkClass.INTERACTIVE, WorkClass.ENROLMENT, WorkClass.STREAM])
async def test_a_picture_waits_for_one_batch_of_an_explanation_at_most(work_class: WorkClass) -> None:
    """While one part is embedded a picture comes: its face is in the next batch, and the parts that wait are not."""
    embedder = Corner(hold_at=4)
    async with explaining(embedder) as world:
        explanation = asyncio.create_task(world.explainer.explain(SMALL))
        await _held(embedder)
        bright = Picture(noise(mean=BRIGHT), EncodeOptions(), work_class)
        encoded = asyncio.create_task(world.encoders.encode(bright))
        await eventually(lambda: _waits_for_its_turn(world))
        embedder.may_go.set()
        assert len((await encoded).samples) == 1
        assert any(_is_bright(embedder.batches[5]))
        assert (await explanation).map.weights[0, 0] == 1.0
    assert sum(any(_is_bright(batch)) for batch in embedder.batches) == 1
    assert len(embedder.batches) > 50


async def _waits_for_its_turn(world: World) -> bool:
    """The picture stands in the scheduler's queue, and nobody has decoded it yet."""
    queues = world.parts.scheduler._device.queues
    return sum(len(queue) for each, queue in queues.items() if each is not WorkClass.EXPLANATION) == 1


def test_an_explanation_has_no_share_however_long_it_waited(device: HeldDevice) -> None:
    """Frames that came later go first, although streams and enrolments would be owed a turn by then."""
    device.batch_s = 0.05
    note = device.stage()
    works = [device.submit(note, "explain", WorkClass.EXPLANATION)]
    works += [device.submit(note, f"frame {n}", WorkClass.STREAM) for n in range(40)]
    works += [device.submit(note, f"verify {n}") for n in range(40)]
    device.release()
    for work in works:
        work.future.result(LIMIT_S)
    assert device.done[-1] == "explain"


# ---- what stops it


async def test_a_cancelled_explanation_stops_after_the_batch_that_runs() -> None:
    """Nobody waits for it any more: of more than fifty parts no further one is embedded."""
    embedder = Corner(hold_at=4)
    async with explaining(embedder) as world:
        explanation = asyncio.create_task(world.explainer.explain(SMALL))
        await _held(embedder)
        explanation.cancel()
        with pytest.raises(asyncio.CancelledError):
            await explanation
        embedder.may_go.set()
        await eventually(lambda: _nothing_left(world.parts))
        cancelled = {"work_class": "explanation", "outcome": "cancelled", "reason": ""}
        assert world.value("tessera_encoder_frames_total", **cancelled) == 1
    assert len(embedder.batches) == 5


async def test_an_explanation_ends_with_its_deadline() -> None:
    """The time runs out while a part is embedded: it is the last one."""
    embedder = Corner(hold_at=4)
    async with explaining(embedder) as world:
        question = replace(SMALL, expires_at_s=embedder.clock.monotonic_s() + 100.0)
        explanation = asyncio.create_task(world.explainer.explain(question))
        await _held(embedder)
        embedder.clock.advance(100.0)
        embedder.may_go.set()
        with pytest.raises(ExpiredError):
            await explanation
    assert len(embedder.batches) == 5


async def test_a_version_is_not_forgotten_while_it_explains() -> None:
    """It drains: no new explanation begins, and the one under way is finished."""
    embedder = Corner(hold_at=4)
    async with explaining(embedder) as world:
        version = world.encoders.version()
        explanation = asyncio.create_task(world.explainer.explain(SMALL))
        await _held(embedder)
        assert version.under_way == 1
        world.encoders.drain()
        with pytest.raises(UnavailableError):
            await world.explainer.explain(SMALL)
        embedder.may_go.set()
        assert (await explanation).map.weights[0, 0] == 1.0
        await version.finished()
