"""Encoders come and go: loaded beside the one that serves, taken over in one step, finished, forgotten."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from encoder_svc.encoders import EncoderFacts, Encoders, EncoderState, outcome_of
from encoder_svc.faces.pipeline import FacePipeline
from encoder_svc.version import Parts
from tessera.domain.artifact import Manifest
from tessera.domain.embedding import Modality
from tessera.domain.errors import (
    ArtifactError,
    ExpiredError,
    ImageRejectedError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    PreconditionError,
    UnavailableError,
)
from tessera.domain.reasons import Reason
from tests.encoder_world import NOTHING, Barrier, build_parts, left_over, manifest_named, picture, pipeline_of, see
from tests.eventually import eventually

LOADING, WARMING_UP, READY = EncoderState.LOADING, EncoderState.WARMING_UP, EncoderState.READY
DRAINING, FAILED = EncoderState.DRAINING, EncoderState.FAILED


class Folder:
    """Encoders that can be loaded: each load waits until the test allows it, when it is told to."""

    def __init__(self) -> None:
        self.manifests: dict[str, Manifest] = {}
        self.broken: dict[str, Exception] = {}
        self.detector: Callable[..., object] = see
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.loads = 0

    def put(self, name: str, digest: str = "0123456789ab") -> str:
        """Put an encoder there; return its model id."""
        self.manifests[name] = manifest_named(name, digest)
        return self.manifests[name].model_id

    def describe(self, name: str) -> EncoderFacts:
        """Its facts."""
        if name not in self.manifests:
            raise NotFoundError("encoder", name)
        return EncoderFacts(self.manifests[name], "")

    async def load(self, facts: EncoderFacts) -> FacePipeline:
        """Its pipeline."""
        self.loads += 1
        await self.may_load.wait()
        if facts.manifest.name in self.broken:
            raise self.broken[facts.manifest.name]
        return pipeline_of(facts.manifest, self.detector)  # type: ignore[arg-type]


class World:
    """Encoders with their folder."""

    def __init__(self) -> None:
        self.folder = Folder()
        self.parts: Parts = build_parts(lanes=2)
        self.encoders = Encoders(self.folder.describe, self.folder.load, self.parts)

    async def serve(self, *names: str) -> list[str]:
        """Put encoders there and load them; return their model ids."""
        ids = [self.folder.put(name) for name in names]
        for name in names:
            self.encoders.load(name)
        await self.encoders.loaded()
        return ids

    def states(self) -> list[tuple[str, EncoderState]]:
        """What ListEncoders would show."""
        return [(status.facts.manifest.model_id, status.state) for status in self.encoders.statuses()]

    async def until(self, *states: EncoderState) -> None:
        """Wait until the versions are in these states."""

        async def are() -> bool:
            return [state for _, state in self.states()] == list(states)

        await eventually(are)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Lanes that run; at the end nothing may be left of any picture."""
    made = World()
    made.parts.scheduler.start()
    yield made
    made.folder.may_load.set()
    await made.encoders.close()
    assert left_over(made.parts) == NOTHING


@asynccontextmanager
async def under_way(world: World, wanted: str = "") -> AsyncIterator[asyncio.Task[object]]:
    """A picture that the version has begun, until the end of the block."""
    detector = world.folder.detector
    assert isinstance(detector, Barrier)
    detector.begun.clear()
    detector.may_go.clear()
    task: asyncio.Task[object] = asyncio.create_task(world.encoders.encode(picture(1), wanted))

    async def begun() -> bool:
        return detector.begun.is_set()

    await eventually(begun)
    try:
        yield task
    finally:
        detector.may_go.set()
        await asyncio.wait({task})


def _held() -> Barrier:
    """A detector that is let through until somebody is under way."""
    barrier = Barrier(see)
    barrier.may_go.set()
    return barrier


# ---- loading


async def test_an_encoder_is_loaded_in_the_background(world: World) -> None:
    """LOADING, then READY; before that there is nothing to encode with, and a caller may try again."""
    with pytest.raises(UnavailableError):
        await world.encoders.encode(picture())
    model_id = world.folder.put("face-a")
    world.folder.may_load.clear()
    status = world.encoders.load("face-a")
    assert (status.state, status.device, status.default) == (LOADING, "", True)
    assert not world.encoders.ready()
    with pytest.raises(UnavailableError, match="loading"):
        await world.encoders.encode(picture())
    world.folder.may_load.set()
    await world.encoders.loaded()
    assert world.states() == [(model_id, READY)]
    assert world.encoders.ready()
    status = world.encoders.serving()
    assert (status.device, status.runtime) == ("cpu", "eager")
    assert len((await world.encoders.encode(picture(2))).samples) == 2


async def test_the_first_is_the_default_until_another_is_made_it(world: World) -> None:
    """Encoders answer to their name and to their model id; nobody answers to another modality."""
    first, second = await world.serve("face-a", "face-b")
    assert world.encoders.serving().facts.manifest.model_id == first
    assert world.encoders.serving("face-b").facts.manifest.model_id == second
    assert world.encoders.serving(second).facts.manifest.name == "face-b"
    world.encoders.load("face-b", make_default=True)
    await world.encoders.loaded()
    assert world.encoders.serving().facts.manifest.model_id == second
    with pytest.raises(NotFoundError, match=second):
        world.encoders.serving("face-c")
    with pytest.raises(NotFoundError):
        world.encoders.serving("", Modality.SIGNATURE)


async def test_the_priority_stays_unless_it_is_said(world: World) -> None:
    """0 at first; what it had before when it is loaded anew."""
    world.folder.put("face-a")
    for said, has in ((None, 0), (3, 3), (None, 3), (0, 0)):
        assert world.encoders.load("face-a", said).priority == has
        await world.encoders.loaded()
        await world.until(READY)
        assert world.encoders.serving().priority == has


async def test_what_is_not_there_or_is_loading_already_cannot_be_loaded(world: World) -> None:
    """Both are told, and nothing changes."""
    with pytest.raises(NotFoundError):
        world.encoders.load("face-x")
    world.folder.put("face-a")
    world.folder.may_load.clear()
    world.encoders.load("face-a")
    await asyncio.sleep(0)
    with pytest.raises(PreconditionError, match="ENCODER_LOADING"):
        world.encoders.load("face-a")
    assert world.folder.loads == 1
    assert len(world.states()) == 1


async def test_an_encoder_whose_files_are_broken_cannot_be_loaded(world: World) -> None:
    """The caller hears why; it is no defect of ours."""

    def describe(name: str) -> EncoderFacts:
        raise ArtifactError(name, "not a manifest")

    encoders = Encoders(describe, world.folder.load, world.parts)
    with pytest.raises(PreconditionError, match="ENCODER_UNUSABLE") as caught:
        encoders.load("face-a")
    assert "not a manifest" in caught.value.allowed
    assert encoders.statuses() == ()


async def test_a_failure_is_told_and_can_be_tried_again(world: World) -> None:
    """FAILED with its cause; the next attempt takes its place."""
    model_id = world.folder.put("face-a")
    world.folder.broken["face-a"] = ArtifactError("weights", "cannot be had")
    world.encoders.load("face-a")
    with pytest.raises(ArtifactError, match="cannot be had"):
        await world.encoders.loaded()
    (status,) = world.encoders.statuses()
    assert (status.state, status.detail) == (FAILED, "weights: cannot be had")
    with pytest.raises(UnavailableError, match="failed"):
        await world.encoders.encode(picture())
    world.folder.broken.clear()
    world.encoders.load("face-a")
    await world.encoders.loaded()
    assert world.states() == [(model_id, READY)]


@pytest.mark.parametrize("error", [ArtifactError("weights", "cannot be had"), ZeroDivisionError("a defect")])
async def test_when_loading_anew_fails_the_old_version_stays(world: World, error: Exception) -> None:
    """It goes on serving, and the failure is shown beside it."""
    (model_id,) = await world.serve("face-a")
    world.folder.broken["face-a"] = error
    world.encoders.load("face-a")
    await world.encoders.loaded()
    assert world.states() == [(model_id, READY), (model_id, FAILED)]
    assert len((await world.encoders.encode(picture(1))).samples) == 1
    assert not world.encoders.retired(model_id).is_set()


# ---- taking over


async def test_a_new_version_takes_over_and_the_old_one_finishes(world: World) -> None:
    """What the old one had begun it finishes; new pictures go to the new one."""
    world.folder.detector = _held()
    (old_id,) = await world.serve("face-a")
    streams = world.encoders.retired(old_id)
    async with under_way(world) as begun:
        world.folder.detector, old_detector = see, world.folder.detector
        new_id = world.folder.put("face-a", "ba9876543210")
        world.encoders.load("face-a")
        await world.until(READY, DRAINING)
        assert world.states() == [(new_id, READY), (old_id, DRAINING)]
        assert streams.is_set()
        assert not world.encoders.retired(new_id).is_set()
        assert len((await world.encoders.encode(picture(2))).samples) == 2
        assert not begun.done()
        world.folder.detector = old_detector
    assert begun.exception() is None
    await world.until(READY)


async def test_at_no_moment_do_two_versions_or_none_take_work(world: World) -> None:
    """Whoever asks sees the old one or the new one."""
    await world.serve("face-a")
    world.encoders.load("face-a")
    seen = set()
    loading = asyncio.create_task(world.encoders.loaded())
    while not loading.done():
        seen.add([state for _, state in world.states()].count(READY))
        await asyncio.wait((loading,), timeout=0.001)  # without a pause the lanes would hardly ever have their turn
    assert seen == {1}


async def test_streams_of_the_same_model_go_on_with_its_successor(world: World) -> None:
    """Same embeddings; its later end reaches them, also while the old version still finishes."""
    world.folder.detector = _held()
    model_id, _ = await world.serve("face-a", "face-b")
    streams = world.encoders.retired(model_id)
    world.encoders.load("face-b", make_default=True)
    await world.encoders.loaded()
    async with under_way(world, "face-a"):
        detector, world.folder.detector = world.folder.detector, see
        await world.encoders.replace("face-a", pipeline_of(world.folder.manifests["face-a"]))
        assert not streams.is_set()
        assert world.encoders.retired(model_id) is streams
        unloading = asyncio.create_task(world.encoders.unload(model_id))
        await asyncio.wait_for(streams.wait(), 10)
        world.folder.detector = detector
    assert await unloading


async def test_replacing_needs_a_version_that_serves(world: World) -> None:
    """Nothing to replace is told."""
    with pytest.raises(NotFoundError):
        await world.encoders.replace("face-a", pipeline_of(manifest_named("face-a")))


async def test_a_replacement_that_fails_leaves_all_as_it_was(world: World) -> None:
    """Such as compiled networks that do not run."""

    def broken(_: object) -> object:
        raise ZeroDivisionError

    (model_id,) = await world.serve("face-a")
    with pytest.raises(ZeroDivisionError):
        await world.encoders.replace("face-a", pipeline_of(world.folder.manifests["face-a"], broken))  # type: ignore[arg-type]
    assert world.states() == [(model_id, READY)]
    assert not world.encoders.retired(model_id).is_set()


async def test_a_load_and_a_replacement_at_a_time_leave_one_version(world: World) -> None:
    """Whichever comes first."""
    await world.serve("face-a")
    for _ in range(3):
        world.encoders.load("face-a")
        replacing = world.encoders.replace("face-a", pipeline_of(world.folder.manifests["face-a"]))
        (end,) = await asyncio.gather(replacing, return_exceptions=True)
        assert end is None or isinstance(end, NotFoundError)
        await world.encoders.loaded()
        await world.until(READY)


# ---- going


async def test_an_encoder_is_unloaded_once_it_has_finished(world: World) -> None:
    """No new work at once; its streams are told; forgotten when it is done; a second time it is not there."""
    world.folder.detector = _held()
    _, model_id = await world.serve("face-a", "face-b")
    streams = world.encoders.retired(model_id)
    shown = {"model_id": model_id, "modality": Modality.FACE.value, "device": "cpu", "runtime": "eager"}
    info = world.parts.metrics.registry.get_sample_value
    assert info("tessera_encoder_model_info", shown) == 1.0
    async with under_way(world, "face-b") as begun:
        unloading = asyncio.create_task(world.encoders.unload(model_id))
        await world.until(READY, DRAINING)
        assert streams.is_set()
        with pytest.raises(UnavailableError, match="draining"):
            await world.encoders.encode(picture(), "face-b")
        with pytest.raises(NotFoundError):
            world.encoders.retired(model_id)
        assert not unloading.done()
    assert begun.exception() is None
    assert await unloading
    assert not await world.encoders.unload(model_id)
    with pytest.raises(NotFoundError):
        await world.encoders.encode(picture(), "face-b")
    assert info("tessera_encoder_model_info", shown) is None


async def test_the_default_cannot_be_unloaded(world: World) -> None:
    """Another must be made the default first."""
    first, _ = await world.serve("face-a", "face-b")
    with pytest.raises(PreconditionError, match="ENCODER_IS_DEFAULT"):
        await world.encoders.unload(first)
    world.encoders.load("face-b", make_default=True)
    await world.encoders.loaded()
    assert await world.encoders.unload(first)


async def test_an_unload_goes_on_when_its_caller_goes_away(world: World) -> None:
    """A deadline shorter than the work under way leaves no half of an encoder."""
    world.folder.detector = _held()
    first, model_id = await world.serve("face-a", "face-b")
    async with under_way(world, "face-b"):
        unloading = asyncio.create_task(world.encoders.unload(model_id))
        await world.until(READY, DRAINING)
        unloading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await unloading
    await world.until(READY)
    assert world.states() == [(first, READY)]


async def test_what_is_unloaded_while_it_is_loaded_never_comes_up(world: World) -> None:
    """Neither does it harm what is loaded under its name afterwards."""
    await world.serve("face-a")
    model_id = world.folder.put("face-b")
    world.folder.may_load.clear()
    world.encoders.load("face-b")
    await asyncio.sleep(0)
    assert await world.encoders.unload(model_id)
    assert len(world.states()) == 1
    world.encoders.load("face-b")
    world.folder.may_load.set()
    await world.encoders.loaded()
    assert [state for _, state in world.states()] == [READY, READY]
    assert not world.encoders.retired(model_id).is_set()


async def test_what_is_unloaded_while_it_is_replaced_is_gone(world: World) -> None:
    """The replacement is told that there is nothing to replace."""
    _, model_id = await world.serve("face-a", "face-b")
    replacing = asyncio.create_task(world.encoders.replace("face-b", pipeline_of(world.folder.manifests["face-b"])))
    await asyncio.sleep(0)
    assert await world.encoders.unload(model_id)
    with pytest.raises(NotFoundError):
        await replacing
    assert len(world.states()) == 1


async def test_an_unloaded_pipeline_is_given_back(world: World) -> None:
    """Its memory is free: neither lanes nor threads nor tasks hold on to it."""
    pipelines: list[weakref.ref[FacePipeline]] = []
    load = world.folder.load

    async def watched(facts: EncoderFacts) -> FacePipeline:
        pipeline = await load(facts)
        pipelines.append(weakref.ref(pipeline))
        return pipeline

    world.encoders._load = watched
    _, model_id = await world.serve("face-a", "face-b")
    await asyncio.gather(*(world.encoders.encode(picture(2), "face-b") for _ in range(4)))
    await world.encoders.unload(model_id)

    async def gone() -> bool:
        gc.collect()
        return pipelines[1]() is None

    await eventually(gone)
    assert pipelines[0]() is not None, "the one that still serves"


async def test_a_service_that_drains_takes_nothing_and_finishes_what_it_began(world: World) -> None:
    """Neither pictures nor encoders; it says DRAINING."""
    world.folder.detector = _held()
    (model_id,) = await world.serve("face-a")
    async with under_way(world) as begun:
        world.encoders.drain()
        assert world.states() == [(model_id, DRAINING)]
        assert not world.encoders.ready()
        with pytest.raises(UnavailableError, match="draining"):
            await world.encoders.encode(picture())
        with pytest.raises(UnavailableError, match="draining"):
            world.encoders.load("face-a")
    assert begun.exception() is None


async def test_closing_while_an_encoder_loads_ends_the_loading() -> None:
    """Nothing comes up afterwards."""
    world = World()
    world.parts.scheduler.start()
    world.folder.put("face-a")
    world.folder.may_load.clear()
    world.encoders.load("face-a")
    await asyncio.sleep(0)
    await asyncio.wait_for(world.encoders.close(), 10)
    world.folder.may_load.set()
    await asyncio.sleep(0)
    assert not world.encoders.ready()


# ---- counting


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ExpiredError("detection"), ("expired", "EXPIRED")),
        (OverloadedError("stream queue", 1), ("skipped", "QUEUE_FULL")),
        (UnavailableError("encoder"), ("skipped", "ENCODER_UNAVAILABLE")),
        (NotFoundError("encoder", "x"), ("failed", "ENCODER_NOT_FOUND")),
        (ImageRejectedError(Reason.NOT_AN_IMAGE, "torn"), ("failed", "NOT_AN_IMAGE")),
        (asyncio.CancelledError(), ("cancelled", "")),
        (InvalidInputError("a", "b", "c"), ("failed", "INTERNAL")),
        (ZeroDivisionError(), ("failed", "INTERNAL")),
    ],
)
def test_what_becomes_of_a_picture_has_a_name(error: BaseException, outcome: tuple[str, str]) -> None:
    """Every end is counted as one of a few outcomes, with its reason."""
    assert outcome_of(error) == outcome


async def test_every_picture_is_counted_once(world: World) -> None:
    """Encoded or not."""
    await world.serve("face-a")
    await world.encoders.encode(picture(1))
    with pytest.raises(NotFoundError):
        await world.encoders.encode(picture(), "face-x")
    count = world.parts.metrics.registry.get_sample_value
    labels = {"work_class": "interactive", "outcome": "encoded", "reason": ""}
    assert count("tessera_encoder_frames_total", labels) == 1.0
    labels = {"work_class": "interactive", "outcome": "failed", "reason": "ENCODER_NOT_FOUND"}
    assert count("tessera_encoder_frames_total", labels) == 1.0
    assert count("tessera_encoder_pending", {"work_class": "interactive"}) == 0.0
