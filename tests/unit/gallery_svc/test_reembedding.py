"""A collection's move to another encoder: nobody is lost, nothing is embedded twice, and each step may come again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from gallery_svc.biometrics import Biometrics
from gallery_svc.camera_groups import CameraGroups
from gallery_svc.comparing import Comparer, Draw, EpochComparison
from gallery_svc.epochs import epochs_of
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.probes import ProbeReader
from gallery_svc.reembedding import Progress, Reembedder, ReembedOrder, ReembedStep
from gallery_svc.replica import Replica
from gallery_svc.rows import RowBatch, SearchProfile, SearchRow, TemplateRow, half
from gallery_svc.shadow import AT_ONCE
from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.change_records import Change
from gallery_svc.store.collection_records import CollectionRecord, EpochRecord, EpochState, Position
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.subject_records import NewTemplate, SubjectProfile, TemplateRecord
from gallery_svc.store.write_records import Enrollment, Erasure, ProfileUpdate, TemplateDeletion
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import SystemClock
from tessera.client.encoder import EncodedImage, Priority
from tessera.client.stream_values import StageTimes
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import (
    CalibrationTooSmallError,
    ImageRejectedError,
    ModelMismatchError,
    NoCalibrationError,
    OverloadedError,
    PreconditionError,
    UnavailableError,
)
from tessera.domain.ids import CalibrationId, CollectionId, ModelId, SubjectId, TemplateId
from tessera.domain.observation import Box, Observation, Quality
from tessera.domain.reasons import Reason
from tests.eventually import eventually
from tests.gallery_world import CALIBRATION
from tests.plain_index import PlainIndex, score_of

AT = datetime(2026, 11, 22, tzinfo=UTC)
STAFF = CollectionId("staff")
OLD, NEW, THIRD = ModelId("face@1"), ModelId("face@2"), ModelId("face@3")
LENGTHS = {OLD: 16, NEW: 24, THIRD: 8}
QUALITY = Quality(0.9, 0.5, 0.5, 1.0, 0.9, 0.9, ())
THRESHOLDS = Thresholds(
    [replace(CALIBRATION, model_id=model_id, calibration_id=CalibrationId(f"cal-{model_id}")) for model_id in LENGTHS],
    {Modality.FACE: OLD},
    LENGTHS,
)


def seen_by(model_id: ModelId, number: int) -> list[float]:
    """What a model makes of a person."""
    vector = np.random.default_rng([number, LENGTHS[model_id]]).normal(size=LENGTHS[model_id])
    return [float(value) for value in vector / np.linalg.norm(vector)]


def _set(event: asyncio.Event) -> asyncio.Event:
    event.set()
    return event


def photo(*numbers: int, error: bool = False) -> bytes:
    """A picture of these people."""
    return json.dumps({"people": numbers, "error": error}).encode()


@dataclass(slots=True)
class TwoModels:
    """An encoder with several models, which remembers what it was asked."""

    asked: Counter[tuple[ModelId, bytes]] = field(default_factory=Counter)
    priorities: set[Priority] = field(default_factory=set)
    has: set[ModelId] = field(default_factory=lambda: {OLD, NEW, THIRD})
    blind: set[tuple[ModelId, bytes]] = field(default_factory=set)
    breaks_after: int | None = None
    full: int = 0
    may_go: asyncio.Event = field(default_factory=lambda: _set(asyncio.Event()))
    under_way: int = 0
    most_at_once: int = 0

    async def encode(
        self,
        image: bytes,
        *,
        priority: Priority,
        deadline_s: float,
        modality: Modality = Modality.FACE,
        model_id: ModelId | None = None,
        max_observations: int = 16,
        field: str = "image",
    ) -> EncodedImage:
        """Encode one picture."""
        model = model_id or OLD
        self.priorities.add(priority)
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            await self.may_go.wait()
            await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        if self.full:
            self.full -= 1
            raise OverloadedError("encoder", 1)
        if self.breaks_after is not None and self.asked.total() >= self.breaks_after:
            raise UnavailableError("encoder", "it went down")
        self.asked[model, image] += 1
        note = json.loads(image)
        if note["error"]:
            raise ImageRejectedError(Reason.NOT_AN_IMAGE, "no picture", field)
        if (model, image) in self.blind:
            note["people"] = []
        if model not in self.has:
            model = OLD
        seen = tuple(
            Observation(Box(0, 0, 9, 9), np.zeros((5, 2), np.float32), 0.9, QUALITY, vector)
            for vector in (Embedding.from_raw(seen_by(model, number), model) for number in note["people"])
        )
        return EncodedImage(seen[:max_observations], model, 9, 9, StageTimes())

    def times(self, model_id: ModelId) -> int:
        """How often a model was asked."""
        return sum(count for (asked, _), count in self.asked.items() if asked == model_id)


class _OutOfOrderError(Exception):
    """The move is not where this step begins."""


class World:
    """A store, an encoder, and what moves collections between models."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.encoder = TwoModels()
        self.closing = asyncio.Event()
        metrics = GalleryMetrics(CollectorRegistry())
        biometrics = Biometrics(metrics, THRESHOLDS, CameraGroups(), SystemClock())
        self.replica = Replica(self.store, PlainIndex, metrics, SystemClock())
        self.reembedder = Reembedder(
            store=self.store,
            replica=self.replica,
            probes=ProbeReader(self.encoder, THRESHOLDS, metrics, biometrics),
            thresholds=THRESHOLDS,
            make_index=PlainIndex,
            clock=SystemClock(),
            closing=self.closing,
        )
        self.revision = 0

    async def create(self, *people: int, shards: int = 2) -> None:
        """A collection with these people, a picture of each."""
        record = CollectionRecord(STAFF, Modality.FACE, OLD, AT, shards=shards, keep_source_images=True)
        await self.store.create_collection(record)
        for number in people:
            await self.enroll(number)

    async def enroll(
        self, number: int, name: str = "", model_id: ModelId = OLD, picture: bytes | None = b"", sample: str = "a"
    ) -> None:
        """One template of a person, by a picture of them unless another, or none, is given."""
        subject_id = SubjectId(name or f"p{number:03}")
        record = TemplateRecord(TemplateId(f"{subject_id}-{sample}"), model_id, AT, QUALITY, "0" * 64)
        kept = photo(number) if picture == b"" else picture
        template = NewTemplate(record, half(np.array(seen_by(model_id, number))), kept)
        audit = AuditRecord("EnrollSubject", AT, "ev-1", collection_id=STAFF)
        await self.store.enroll(Enrollment(STAFF, subject_id, SubjectProfile(), (template,), AT, audit))

    async def do(self, step: ReembedStep, model_id: ModelId = NEW, **options: bool | int | str) -> Progress:
        """A whole step; what it said last."""
        return (await self.told(step, model_id, **options))[-1]

    async def told(self, step: ReembedStep, model_id: ModelId = NEW, **options: bool | int | str) -> list[Progress]:
        """All that a step said."""
        return [progress async for progress in self.reembedder.run(order(step, model_id, **options))]

    async def do_in_order(self, step: ReembedStep) -> None:
        """A whole step; that it is out of order is the only thing it may be refused for."""
        try:
            await self.do(step)
        except PreconditionError as error:
            if error.reason == "TEMPLATES_MISSING":
                raise
            raise _OutOfOrderError from error

    async def record(self) -> CollectionRecord:
        """The collection's record."""
        record = await self.store.find_collection(STAFF)
        assert record is not None
        return record

    async def states(self) -> dict[ModelId, EpochState]:
        """The state of each model's epoch."""
        return {epoch.model_id: epoch.state for epoch in epochs_of(await self.record())}

    async def found(self, number: int, model_id: ModelId) -> str:
        """Who is found for a person, by the replica as it is."""
        live = await self.replica.collection(STAFF)
        hits = live.index.search(Embedding.from_raw(seen_by(model_id, number), model_id), 1)
        return hits[0].subject_id if hits and hits[0].score > 0.99 else ""

    async def methods(self) -> list[tuple[str, str]]:
        """(method, request id) of the moves on record."""
        entries = await self.store.audit_after(f"{STAFF}/00", 0, 1000)
        records = [codec.load(AuditRecord, entry.entry.decode(), "entry") for entry in entries]
        return [(r.method, r.request_id) for r in records if r.method.startswith("Reembed")]


def order(step: ReembedStep, model_id: ModelId = NEW, **options: bool | int | str) -> ReembedOrder:
    """What a test wants done."""
    return replace(ReembedOrder(STAFF, model_id, step, f"req-{step.value}"), **options)  # type: ignore[arg-type]  # by name


SHADOW, COMPARE, CUT_OVER = ReembedStep.SHADOW, ReembedStep.COMPARE, ReembedStep.CUT_OVER
ROLL_BACK, DISCARD = ReembedStep.ROLL_BACK, ReembedStep.DISCARD


async def refused(world: World, step: ReembedStep, model_id: ModelId = NEW, **options: bool | int | str) -> str:
    """The reason that a step is refused with."""
    with pytest.raises(PreconditionError) as caught:
        await world.do(step, model_id, **options)
    return caught.value.reason


# ---- the way there


async def test_a_collection_moves_to_another_model_and_searches_go_on() -> None:
    """Until the cut the old model's probes find everybody; from then on the new one's do; the old one's are refused."""
    world = World()
    await world.create(*range(5))
    during: list[str] = []
    async for _ in world.reembedder.run(order(SHADOW)):
        during.append(await world.found(3, OLD))
    assert set(during) == {"p003"}
    assert await world.found(3, OLD) == "p003"
    done = await world.do(CUT_OVER)
    assert (done.model_id, done.counts.done, done.counts.failed) == (NEW, 5, 0)
    assert [await world.found(number, NEW) for number in range(5)] == [f"p{number:03}" for number in range(5)]
    with pytest.raises(ModelMismatchError):
        await world.found(3, OLD)
    assert await world.states() == {OLD: EpochState.RETIRED, NEW: EpochState.ACTIVE}
    assert world.encoder.priorities == {Priority.ENROLMENT}


async def test_an_enrolment_during_the_shadow_is_there_after_the_cut() -> None:
    """Who is enrolled, gets a template, loses one or is erased while the shadow is made is so in the new epoch."""
    world = World()
    await world.create(*range(4))
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: world.enroll(9),
        lambda: world.enroll(1, sample="b"),
        lambda: world.store.update_profile(
            ProfileUpdate(STAFF, SubjectId("p002"), SubjectProfile("Cy"), frozenset({"display_name"}), AT, _audit())
        ),
        lambda: world.store.erase(Erasure(STAFF, SubjectId("p000"), "er-1", 0, AT, _audit())),
    ]
    async for _ in world.reembedder.run(order(SHADOW)):
        if steps:
            await steps.pop(0)()
    for step in steps:
        await step()
    await world.store.delete_template(TemplateDeletion(STAFF, SubjectId("p001"), TemplateId("p001-a"), AT, _audit()))
    done = await world.do(CUT_OVER)
    assert (done.counts.done, done.counts.failed) == (4, 0)
    assert [await world.found(number, NEW) for number in (0, 1, 2, 9)] == ["", "p001", "p002", "p009"]
    assert world.replica.name_of(STAFF, SubjectId("p002")) == "Cy"


async def test_a_subject_that_changes_while_it_is_embedded_is_done_again() -> None:
    """The row that is written is that of the newest revision; what was embedded is not embedded again."""
    world = World()
    await world.create(1)
    pending: list[asyncio.Task[None]] = []

    class Changing(TwoModels):
        async def encode(self, image: bytes, **options: object) -> EncodedImage:
            if not pending:
                pending.append(asyncio.create_task(world.enroll(1, sample="b", picture=photo(1, 1))))
                await pending[0]
            return await TwoModels.encode(self, image, **options)  # type: ignore[arg-type]  # the same

    world.reembedder._probes._encoder = changing = Changing()
    await world.enroll(1, sample="c", picture=photo(1))
    done = await world.do(SHADOW)
    assert (done.counts.done, done.counts.failed) == (2, 1)  # two faces are no template
    assert changing.asked[NEW, photo(1)] == 2


async def test_a_crash_is_gone_on_with_and_nothing_is_embedded_twice() -> None:
    """What has a row is done: the second run asks the encoder only for what the first did not get to."""
    world = World()
    people = range(120)
    await world.create(*people)
    world.encoder.breaks_after = 70
    with pytest.raises(UnavailableError):
        await world.do(SHADOW)
    world.encoder.breaks_after = None
    first = await world.record()
    done = await world.do(SHADOW)
    assert done.counts.done == len(people)
    # Those that were embedded when it broke and not yet written are the only ones that are embedded twice.
    assert world.encoder.times(NEW) <= len(people) + AT_ONCE
    assert (await world.record()).epochs == first.epochs
    asked = world.encoder.times(NEW)
    await world.do(SHADOW)
    await world.do(CUT_OVER)
    assert world.encoder.times(NEW) == asked
    assert world.encoder.most_at_once <= AT_ONCE


async def test_a_template_that_is_added_costs_one_picture() -> None:
    """Of a subject that is there in part only what is lacking is embedded."""
    world = World()
    await world.create(1, 2)
    await world.do(SHADOW)
    await world.enroll(1, sample="b", picture=photo(1) + b" ")
    await world.do(SHADOW)
    assert world.encoder.asked[NEW, photo(1)] == 1
    assert world.encoder.asked[NEW, photo(1) + b" "] == 1


async def test_a_full_encoder_is_waited_for() -> None:
    """No room is no failure of the picture."""
    world = World()
    await world.create(1)
    world.encoder.full = 2
    assert (await world.do(SHADOW)).counts.failed == 0


async def test_closing_the_call_ends_the_step_and_lets_go() -> None:
    """A caller that leaves in the middle leaves no lease, and the next one goes on."""
    world = World()
    await world.create(*range(40))
    told = world.reembedder.run(order(SHADOW))
    await anext(told)
    assert await refused(world, SHADOW) == "REEMBED_UNDER_WAY"
    await told.aclose()
    assert (await world.do(SHADOW)).counts.done == 40
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_a_cancelled_step_leaves_nothing_behind() -> None:
    """Cancellation ends the pictures under way and gives the lease back."""
    world = World()
    await world.create(*range(40))
    world.encoder.may_go.clear()
    task = asyncio.create_task(world.do(SHADOW))
    await eventually(_true_when(lambda: world.encoder.under_way > 0))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.encoder.may_go.set()
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert (await world.do(SHADOW)).counts.done == 40


async def test_a_step_whose_lease_was_lost_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else may be at it by then."""
    monkeypatch.setattr("gallery_svc.step_lease.LEASE_S", 0.03)
    world = World()
    await world.create(1)
    asked = list[str]()

    async def lost(name: str, holder: str, seconds: float) -> bool:
        asked.append(holder)
        return len(asked) == 1

    world.store.take_lease = lost  # type: ignore[method-assign]  # it runs out, and another one takes it
    world.encoder.may_go.clear()
    task = asyncio.create_task(world.do(SHADOW))
    await eventually(_true_when(lambda: len(asked) == 2))
    world.encoder.may_go.set()
    with pytest.raises(UnavailableError, match="lease"):
        await task


async def test_a_gallery_that_goes_down_ends_the_step() -> None:
    """It says that the same step again goes on."""
    world = World()
    await world.create(*range(3))
    world.closing.set()
    with pytest.raises(UnavailableError, match="goes on"):
        await world.do(SHADOW)


# ---- what cannot be embedded


async def test_a_cut_that_would_lose_templates_is_refused_unless_that_is_accepted() -> None:
    """No picture, no face, two faces, a picture that is none: each counts as failed; the old templates stay active."""
    world = World()
    await world.create(1, 2)
    await world.enroll(1, sample="none", picture=None)
    await world.enroll(3, picture=photo())
    await world.enroll(4, picture=photo(4, 5))
    await world.enroll(5, picture=photo(5, error=True))
    done = await world.do(SHADOW)
    assert (done.counts.done, done.counts.total, done.counts.failed) == (2, 6, 4)
    assert await refused(world, CUT_OVER) == "TEMPLATES_MISSING"
    assert await world.found(3, OLD) == "p003"
    done = await world.do(CUT_OVER, accept_loss=True)
    assert (done.counts.done, done.counts.failed) == (2, 4)
    assert await world.found(1, NEW) == "p001"
    assert await world.found(3, NEW) == ""


async def test_the_old_templates_are_not_dropped_while_they_are_the_only_ones() -> None:
    """A loss that a cut accepted can be taken back until a discard accepts it too."""
    world = World()
    await world.create(1)
    await world.enroll(2, picture=None)
    await world.do(SHADOW)
    await world.do(CUT_OVER, accept_loss=True)
    assert await refused(world, DISCARD) == "TEMPLATES_MISSING"
    await world.do(ROLL_BACK)
    assert await world.found(2, OLD) == "p002"
    await world.do(CUT_OVER, accept_loss=True)
    await world.do(DISCARD, accept_loss=True)
    assert await world.states() == {NEW: EpochState.ACTIVE}


async def test_who_was_lost_by_one_move_is_looked_at_again_by_the_next() -> None:
    """Nothing that is searched names them; their records and pictures do, and each picture is embedded once."""
    world = World()
    await world.create(1, 2, 3)
    await world.enroll(3, sample="b", picture=photo(3) + b" ")
    world.encoder.blind = {(NEW, photo(2)), (NEW, photo(3))}
    await world.do(SHADOW)
    await world.do(CUT_OVER, accept_loss=True)
    await world.do(DISCARD, accept_loss=True)
    assert [await world.found(2, NEW), await world.found(3, NEW)] == ["", "p003"]
    assert (await world.do(SHADOW, THIRD)).counts.failed == 0
    await world.do(CUT_OVER, THIRD)
    assert [await world.found(2, THIRD), await world.found(3, THIRD)] == ["p002", "p003"]
    assert world.encoder.times(THIRD) == 4


async def test_an_erased_subject_that_could_not_be_embedded_holds_nothing_up() -> None:
    """Who is gone lacks nothing."""
    world = World()
    await world.create(1)
    await world.enroll(2, picture=None)
    await world.do(SHADOW)
    told = world.reembedder.run(order(CUT_OVER))
    await anext(told)
    await world.store.erase(Erasure(STAFF, SubjectId("p002"), "er-1", 0, AT, _audit()))
    assert [progress async for progress in told][-1].counts.failed == 0


# ---- the cut


class EnrolsAtTheCut(MemoryStore):
    """Somebody is enrolled between the last look and the cut."""

    def __init__(self) -> None:
        super().__init__()
        self.at_the_cut: list[Callable[[], Awaitable[None]]] = []

    async def update_collection(self, record: CollectionRecord, expected_revision: int) -> CollectionRecord:
        """Write a record, after whatever comes in between."""
        before = await self.find_collection(record.collection_id)
        if before is not None and before.active_epoch != record.active_epoch and self.at_the_cut:
            await self.at_the_cut.pop(0)()
        return await super().update_collection(record, expected_revision)


async def test_who_is_enrolled_at_the_very_cut_is_not_lost() -> None:
    """The cut is taken back, they are embedded, and it is made again."""
    store = EnrolsAtTheCut()
    world = World(store)
    await world.create(1)
    await world.do(SHADOW)
    store.at_the_cut = [lambda: world.enroll(7)]
    done = await world.do(CUT_OVER)
    assert (done.counts.done, done.counts.failed) == (2, 0)
    assert await world.found(7, NEW) == "p007"
    assert await world.states() == {OLD: EpochState.RETIRED, NEW: EpochState.ACTIVE}


async def test_who_is_enrolled_at_the_very_cut_without_a_picture_holds_it_up() -> None:
    """The old model is searched again when it is refused, and finds them."""
    store = EnrolsAtTheCut()
    world = World(store)
    await world.create(1)
    await world.do(SHADOW)
    store.at_the_cut = [lambda: world.enroll(7, picture=None)]
    assert await refused(world, CUT_OVER) == "TEMPLATES_MISSING"
    await world.replica.catch_up(STAFF)
    assert await world.found(7, OLD) == "p007"


@pytest.mark.parametrize("times", [3, 9])
async def test_a_cut_at_which_somebody_comes_each_time_ends_with_everybody(times: int) -> None:
    """It is tried a few times; it gives up on the old model, nobody is lost, and it may be tried again."""
    store = EnrolsAtTheCut()
    world = World(store)
    await world.create(1)
    await world.do(SHADOW)
    numbers = iter(range(10, 99))
    # Every other write takes the cut back: nobody can enrol with the old model then.
    store.at_the_cut = [each for _ in range(times) for each in (lambda: world.enroll(next(numbers)), _nothing)]
    if times == 9:
        with pytest.raises(UnavailableError, match="at each attempt"):
            await world.do(CUT_OVER)
        assert (await world.record()).model_id == OLD
        await world.replica.catch_up(STAFF)
        assert [await world.found(number, OLD) for number in (10, 14)] == ["p010", "p014"]
        store.at_the_cut = []
    came = next(numbers) if times == 9 else 13
    assert (await world.do(CUT_OVER)).counts.failed == 0
    assert all([await world.found(number, NEW) for number in range(10, came)])


async def test_a_record_that_others_write_at_the_same_moment_is_written_anew() -> None:
    """A change of the collection's name and the cut both hold."""
    world = World()
    await world.create(1)
    await world.do(SHADOW)
    record, write = await world.record(), world.store.update_collection
    others = [lambda: write(replace(record, display_name="Staff"), record.revision)]

    async def second(wanted: CollectionRecord, expected_revision: int) -> CollectionRecord:
        if others:
            await others.pop()()
        return await write(wanted, expected_revision)

    world.store.update_collection = second  # type: ignore[method-assign,assignment]  # somebody else is first
    await world.do(CUT_OVER)
    assert ((await world.record()).display_name, (await world.record()).model_id) == ("Staff", NEW)


async def test_a_log_that_was_trimmed_makes_it_look_at_everybody_again() -> None:
    """Who came while the log forgot is embedded all the same."""

    class Trimmed(MemoryStore):
        forgets = 1

        async def changes_after(
            self, collection_id: CollectionId, shard: int, position: Position, limit: int
        ) -> list[Change] | None:
            if self.forgets:
                self.forgets -= 1
                await world.enroll(8)
                return None
            return await super().changes_after(collection_id, shard, position, limit)

    world = World(Trimmed())
    await world.create(1)
    assert (await world.do(SHADOW)).counts.done == 2


# ---- the way back


async def test_a_roll_back_embeds_with_the_old_model_who_came_after_the_cut() -> None:
    """They are found by the old model; the new templates wait as a shadow, and the cut may be made again."""
    world = World()
    await world.create(1)
    await world.do(SHADOW)
    await world.do(CUT_OVER)
    await world.enroll(6, model_id=NEW)
    done = await world.do(ROLL_BACK)
    assert (done.model_id, done.counts.done, done.counts.failed) == (OLD, 2, 0)
    assert await world.found(6, OLD) == "p006"
    assert world.encoder.times(OLD) == 1
    assert await world.states() == {OLD: EpochState.ACTIVE, NEW: EpochState.SHADOW}
    await world.do(CUT_OVER)
    assert await world.found(6, NEW) == "p006"


async def test_a_roll_back_that_would_lose_somebody_is_refused() -> None:
    """Who was enrolled by an embedding of the new model has nothing that the old one could embed."""
    world = World()
    await world.create(1)
    await world.do(SHADOW)
    await world.do(CUT_OVER)
    await world.enroll(6, model_id=NEW, picture=None)
    assert await refused(world, ROLL_BACK) == "TEMPLATES_MISSING"
    assert await world.found(1, NEW) == "p001"
    assert (await world.do(ROLL_BACK, accept_loss=True)).counts.failed == 1
    assert await refused(world, DISCARD) == "TEMPLATES_MISSING"
    await world.do(CUT_OVER)
    assert await world.found(6, NEW) == "p006"


async def test_a_discard_before_the_cut_leaves_no_trace_of_the_shadow() -> None:
    """Its rows are gone, and the next move has a number of its own."""
    world = World()
    await world.create(1)
    await world.do(SHADOW)
    numbers = {epoch.epoch for epoch in (await world.record()).epochs}
    await world.do(DISCARD)
    assert await world.states() == {OLD: EpochState.ACTIVE}
    await world.do(SHADOW, THIRD)
    third = next(epoch for epoch in (await world.record()).epochs if epoch.model_id == THIRD)
    assert third.epoch not in numbers
    assert world.encoder.times(THIRD) == 1


async def test_a_discard_that_broke_off_is_gone_on_with() -> None:
    """The epoch can neither be built nor searched any more, and the next discard drops its rows."""
    world = World()
    await world.create(1)
    await world.do(SHADOW)
    drop, dropped = world.store.drop_epoch, list[int]()

    async def breaks(collection_id: CollectionId, epoch: int) -> None:
        raise UnavailableError("store")

    world.store.drop_epoch = breaks  # type: ignore[method-assign]  # the server goes away
    with pytest.raises(UnavailableError):
        await world.do(DISCARD)

    async def counted(collection_id: CollectionId, epoch: int) -> None:
        dropped.append(epoch)
        await drop(collection_id, epoch)

    world.store.drop_epoch = counted  # type: ignore[method-assign]  # it is back
    assert await refused(world, CUT_OVER) == "NO_SHADOW"
    assert await refused(world, SHADOW) == "MOVE_OPEN"
    await world.do(DISCARD)
    assert len(dropped) == 1
    assert await world.states() == {OLD: EpochState.ACTIVE}


# ---- what is refused, and what comes again


async def test_steps_out_of_order_are_refused_with_what_would_be_right() -> None:
    """Each with its own reason; none of them changes the record."""
    world = World()
    await world.create(1)
    before = await world.record()
    assert await refused(world, CUT_OVER) == "NO_SHADOW"
    assert await refused(world, COMPARE) == "NO_SHADOW"
    assert await refused(world, ROLL_BACK) == "NO_RETIRED_EPOCH"
    assert await refused(world, SHADOW, OLD) == "MODEL_ACTIVE"
    with pytest.raises(NoCalibrationError):
        await world.do(SHADOW, ModelId("face@unknown"))
    assert await world.record() == before
    await world.do(SHADOW)
    assert await refused(world, SHADOW, THIRD) == "MOVE_OPEN"
    assert await refused(world, DISCARD, THIRD) == "MOVE_OPEN"
    await world.do(CUT_OVER)
    assert await refused(world, SHADOW, THIRD) == "MOVE_OPEN"
    assert await refused(world, ROLL_BACK, OLD) == "NO_RETIRED_EPOCH"


async def test_a_model_that_could_decide_less_is_refused() -> None:
    """Its calibration must carry the collection's rates wherever that of the present model does, and only there."""
    small = replace(CALIBRATION, model_id=NEW, data=replace(CALIBRATION.data, non_mated=100))
    for known, is_refused in (([replace(CALIBRATION, model_id=OLD), small], True), ([small], False)):
        world = World()
        await world.create(1)
        world.reembedder._thresholds = Thresholds(known, {Modality.FACE: OLD}, LENGTHS)
        if is_refused:
            with pytest.raises(CalibrationTooSmallError):
                await world.do(SHADOW)
        assert (NEW in await world.states()) is False
        if not is_refused:
            assert (await world.do(SHADOW)).counts.done == 1


async def test_an_encoder_without_the_model_ends_the_step() -> None:
    """Nothing of another model's gets into the epoch, and it is gone on with when the model is there."""
    world = World()
    await world.create(1)
    world.encoder.has = {OLD}
    with pytest.raises(ModelMismatchError):
        await world.do(SHADOW)
    world.encoder.has = {OLD, NEW}
    assert (await world.do(CUT_OVER)).counts.done == 1


async def test_every_step_may_come_again_and_is_on_record_each_time() -> None:
    """The second time says the same and changes nothing but the audit log."""
    world = World()
    await world.create(1, 2)
    for step in (SHADOW, CUT_OVER, ROLL_BACK, CUT_OVER, DISCARD):
        first = await world.do(step)
        record, asked = await world.record(), world.encoder.asked.total()
        again = await world.do(step)
        assert (again.counts, again.model_id) == (first.counts, first.model_id)
        assert (await world.record(), world.encoder.asked.total()) == (record, asked)
    steps = [step for step in (SHADOW, CUT_OVER, ROLL_BACK, CUT_OVER, DISCARD) for _ in range(2)]
    assert await world.methods() == [(f"Reembed.{step.value}", f"req-{step.value}") for step in steps]


async def test_a_step_that_is_not_on_record_is_not_done() -> None:
    """Without its audit entry nothing is written."""
    world = World()
    await world.create(1)
    before = await world.record()

    async def away(log: str, records: object) -> list[int]:
        raise UnavailableError("store")

    world.store.append_audit = away  # type: ignore[method-assign]  # the server goes away
    with pytest.raises(UnavailableError):
        await world.do(SHADOW)
    assert await world.record() == before


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from([SHADOW, CUT_OVER, ROLL_BACK, DISCARD, "enroll", "enroll", "template", "erase"]), max_size=14
    )
)
def test_whatever_order_the_steps_come_in_everybody_is_found(steps: list[ReembedStep | str]) -> None:
    """With a picture of everybody, the active model finds everybody after each step, whichever of them is refused."""

    async def run() -> None:
        world, numbers = World(), iter(range(100))
        await world.create(next(numbers), next(numbers))
        here = {0, 1}
        for step in steps:
            model_id = (await world.record()).model_id
            if isinstance(step, ReembedStep):
                with contextlib.suppress(_OutOfOrderError):
                    await world.do_in_order(step)
            elif step == "erase" and len(here) > 1:
                number = here.pop()
                await world.store.erase(Erasure(STAFF, SubjectId(f"p{number:03}"), f"er-{number}", 0, AT, _audit()))
            elif step == "template":
                number = min(here)
                await world.enroll(number, model_id=model_id, sample=f"s{next(numbers)}")
            else:
                number = next(numbers)
                here.add(number)
                await world.enroll(number, model_id=model_id)
            await world.replica.catch_up(STAFF)
            model_id = (await world.record()).model_id
            assert [await world.found(number, model_id) for number in sorted(here)] == [
                f"p{n:03}" for n in sorted(here)
            ]

    asyncio.run(run())


# ---- comparing


async def test_comparing_a_model_with_one_that_sees_the_same_finds_no_difference() -> None:
    """Each person under both models is their own best match, and no decision changes."""
    world = World()
    await world.create(*range(6))
    for number in range(6):
        await world.enroll(number, sample="b")
    await world.do(SHADOW)
    told = (await world.do(COMPARE)).comparison
    assert told == EpochComparison(6, 1.0, 0.0)
    assert (await world.record()).model_id == OLD
    await world.do(CUT_OVER)
    assert (await world.do(COMPARE)).comparison == told


async def test_with_one_template_each_nobody_can_agree_on_anybody() -> None:
    """Rank 1 needs another template of the subject: without any it is no number."""
    world = World()
    await world.create(*range(6))
    await world.do(SHADOW)
    comparison = (await world.do(COMPARE, compare_subjects=4)).comparison
    assert comparison is not None
    assert comparison.subjects == 4
    assert math.isnan(comparison.rank1_agreement)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.integers(0, 2**32))
def test_the_figures_are_those_of_a_naive_loop(people: list[int], seed: int) -> None:
    """Each template against all others, in both epochs, one at a time."""
    generator = np.random.default_rng(seed)
    sides = {
        model: {
            f"s{at}": {f"t{n}": half(_unit(generator.normal(size=4) + 2 * np.eye(4)[at % 4])) for n in range(count)}
            for at, count in enumerate(people)
        }
        for model in (OLD, NEW)
    }

    async def run() -> EpochComparison:
        store = MemoryStore()
        await store.create_collection(CollectionRecord(STAFF, Modality.FACE, OLD, AT, shards=3))
        for name, templates in sides[OLD].items():
            new = tuple(
                NewTemplate(TemplateRecord(TemplateId(t), OLD, AT, None, ""), vector) for t, vector in templates.items()
            )
            await store.enroll(Enrollment(STAFF, SubjectId(name), SubjectProfile(), new, AT, _audit()))
        record = await store.find_collection(STAFF)
        assert record is not None
        epochs = (EpochRecord(1, OLD, EpochState.ACTIVE), EpochRecord(2, NEW, EpochState.SHADOW))
        record = await store.update_collection(replace(record, epochs=epochs), record.revision)
        for name, templates in sides[NEW].items():
            rows = tuple(TemplateRow(TemplateId(t), vector) for t, vector in templates.items())
            assert await store.put_row(STAFF, 2, SearchRow(SubjectId(name), SearchProfile(), rows), 1)
        comparing = Comparer(store, THRESHOLDS, PlainIndex).compare(record, *epochs, 100, "seed")
        last = [told async for told in comparing][-1]
        assert isinstance(last, EpochComparison)
        return last

    threshold = THRESHOLDS.for_search(OLD, 0.01, max(1, sum(people))).score
    agreed, changed = list[bool](), list[bool]()
    for name, templates in sides[OLD].items():
        for template in templates:
            best = [_naive(sides[model], model, name, template) for model in (OLD, NEW)]
            if len(templates) > 1:
                agreed.append(best[0][1] == best[1][1])
            decided = [who if -score >= threshold else "" for score, who in best]
            changed.append(decided[0] != decided[1])
    told = asyncio.run(run())
    assert told.subjects == len(people)
    assert told.decisions_changed == pytest.approx(sum(changed) / len(changed))
    assert math.isnan(told.rank1_agreement) if not agreed else told.rank1_agreement == sum(agreed) / len(agreed)


@given(st.lists(st.integers(0, 999), unique=True, max_size=200), st.integers(1, 20))
def test_a_draw_depends_on_the_seed_and_not_on_the_order(numbers: list[int], wanted: int) -> None:
    """The same subjects, however they come and in whatever batches; as many as are wanted, or all."""
    draws = [Draw(wanted, "seed"), Draw(wanted, "seed")]
    for draw, order_of, size in zip(draws, (numbers, sorted(numbers)), (7, 64), strict=True):
        for first in range(0, len(order_of), size):
            draw.offer(_batch(order_of[first : first + size]))
        draw.settle()
    assert draws[0].drawn.keys() == draws[1].drawn.keys()
    assert len(draws[0].drawn) == min(wanted, len(numbers))


def _naive(side: dict[str, dict[str, np.ndarray]], model_id: ModelId, name: str, template: str) -> tuple[float, str]:
    probe = Embedding.from_raw(side[name][template], model_id)
    others = [
        (-score_of(vector, probe), who)
        for who, templates in side.items()
        for t, vector in templates.items()
        if (who, t) != (name, template)
    ]
    return min(others, default=(2.0, ""))


def _batch(numbers: list[int]) -> RowBatch:
    names = [f"s{number}" for number in numbers]
    vectors = np.ones((len(names), 1), np.float16)
    return RowBatch(names, [SearchProfile()] * len(names), [1] * len(names), [f"t-{n}" for n in names], vectors)


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / np.linalg.norm(vector))


def _true_when(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return condition()

    return holds


def _audit() -> AuditRecord:
    return AuditRecord("Test", AT, "ev-1", collection_id=STAFF)


async def _nothing() -> None:
    """Nobody comes."""
