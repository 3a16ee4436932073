"""Parts of one collection: together they answer as the whole does, and a part that is missing is never "nobody"."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from gallery_svc.holding import ALL, Holding
from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.protocol import Hit, Wanted
from gallery_svc.live import LiveCollection
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.own_part import Asked, Claim, OwnPart, PartBest, PartFound
from gallery_svc.probes import Deadline
from gallery_svc.replica import Replica
from gallery_svc.rows import half
from gallery_svc.scatter import Gathered, Scatter, merged
from gallery_svc.searching import Searcher
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import CollectionRecord, ShardPosition
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.protocol import shard_of
from gallery_svc.store.subject_records import NewTemplate, SubjectProfile, TemplateRecord
from gallery_svc.store.write_records import Enrollment
from tessera.chassis.clock import SystemClock
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import (
    GalleryIncompleteError,
    InvalidInputError,
    ModelMismatchError,
    PositionNotReachedError,
    TesseraError,
    UnavailableError,
)
from tessera.domain.ids import CollectionId, ModelId, SubjectId, TemplateId

AT = datetime(2026, 11, 22, tzinfo=UTC)
STAFF, MODEL, SHARDS, SUBJECTS = CollectionId("staff"), ModelId("m@1"), 8, 120
CLOCK = SystemClock()
RANDOM = np.random.default_rng(7)


def soon(seconds: float = 30.0) -> Deadline:
    """A deadline."""
    return Deadline(CLOCK, seconds)


# ---- what is held


@given(st.sets(st.integers(0, 63), min_size=1), st.integers(64, 64))
def test_a_holding_is_read_as_it_is_written(shards: set[int], total: int) -> None:
    """Whatever shards it names; of a collection with another number of shards it is all of them."""
    holding = Holding.parse(str(Holding(frozenset(shards), total)))
    assert holding == Holding(frozenset(shards), total)
    assert set(holding.of(total)) == shards
    assert set(holding.of(3)) == {0, 1, 2}


def test_a_holding_takes_ranges() -> None:
    """And nothing at all is everything."""
    assert set(Holding.parse("0,2,5-7/8").of(8)) == {0, 2, 5, 6, 7}
    assert Holding.parse("") == ALL
    assert set(ALL.of(4)) == {0, 1, 2, 3}


@pytest.mark.parametrize("text", ["8/8", "5-2/8", "0-7", "0/65", "a/8", "0-7/16/2", "/8", "0/0"])
def test_a_holding_that_names_no_shards_is_refused(text: str) -> None:
    """With what is allowed."""
    with pytest.raises(InvalidInputError) as refused:
        Holding.parse(text)
    assert refused.value.field == "holds"


# ---- merging

_HITS = st.lists(
    st.tuples(st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1.0]), st.integers(0, 40), st.integers(0, 4)),
    unique_by=lambda one: one[1],
    max_size=30,
)


@given(_HITS, st.integers(1, 12), st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_best_of_parts_are_the_best_of_the_whole(
    scored: list[tuple[float, int, int]], limit: int, parts: int, chance: Callable[..., object]
) -> None:
    """However the subjects are spread, and with ties everywhere: each part gives its own best."""
    hits = [Hit(SubjectId(f"s{who}"), TemplateId(f"t{which}"), score) for score, who, which in scored]
    spread: list[list[Hit]] = [[] for _ in range(parts)]
    for hit in hits:
        chance.choice(spread).append(hit)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    whole = sorted(hits, key=lambda hit: (-hit.score, hit.subject_id, hit.template_id))[:limit]
    assert merged([merged([part], limit) for part in spread], limit) == whole


# ---- galleries in one process, over one store


@dataclass(eq=False)
class PeerHere:
    """Another gallery, without a network; it can be away, hang, or refuse."""

    own: OwnPart
    replica: Replica
    holds: Holding
    holding: Holding | None = None
    is_doubtful: bool = False
    refusal: TesseraError | None = None
    hangs: bool = False
    asked: list[frozenset[int]] = field(default_factory=list)

    async def learn(self, limit_s: float) -> None:
        """What it holds."""
        self.holding = self.holds

    async def search(self, live: LiveCollection, shards: frozenset[int], asked: Asked, limit_s: float) -> PartFound:
        """Its own answer, over its own index."""
        return await self.own.search(await self._live(shards, limit_s), shards, asked, None)

    async def best_of(self, live: LiveCollection, claim: Claim, probe: Embedding, limit_s: float) -> PartBest:
        """Its own answer, over its own index."""
        return await self.own.best_of(await self._live(frozenset(), limit_s), claim, probe)

    async def _live(self, shards: frozenset[int], limit_s: float) -> LiveCollection:
        self.asked.append(shards)
        if self.hangs:
            try:
                async with asyncio.timeout(limit_s):
                    await asyncio.Event().wait()
            except TimeoutError:
                raise UnavailableError("gallery", "hangs") from None
        if self.refusal is not None:
            raise self.refusal
        return await self.replica.collection(STAFF)


@dataclass
class Town:
    """Galleries over one store; the first one is asked."""

    store: MemoryStore
    searcher: Searcher

    async def gallery(self, holds: str) -> PeerHere:
        """A gallery that has loaded these shards."""
        holding = Holding.parse(holds)
        replica = Replica(self.store, ExactIndex, GalleryMetrics(CollectorRegistry()), CLOCK, holding=holding)
        await replica.collection(STAFF)
        return PeerHere(OwnPart(replica, self.searcher), replica, holding)

    async def ask(
        self,
        first: PeerHere,
        others: Sequence[PeerHere],
        asked: Asked,
        within_s: float = 30.0,
        *,
        allow_partial: bool = False,
    ) -> Gathered:
        """What the first gallery answers."""
        scatter = Scatter(first.own, others, CLOCK)
        live = await first.replica.collection(STAFF)
        return await scatter.search(live, asked, soon(within_s), allow_partial=allow_partial)


@pytest_asyncio.fixture
async def town() -> AsyncIterator[Town]:
    """A store with a collection of eight shards, in which every third person has a double."""
    store = MemoryStore()
    await store.create_collection(CollectionRecord(STAFF, Modality.FACE, MODEL, AT, shards=SHARDS))
    random = np.random.default_rng(3)
    for number in range(SUBJECTS):
        vector = random.normal(size=16) if number % 3 else np.eye(16)[number % 5]
        labels = ("day",) if number % 2 else ()
        await enrol(store, f"s{number:03}", vector, SubjectProfile(display_name=f"N{number}", labels=labels))
    with ThreadPoolExecutor(1) as threads:
        yield Town(store, Searcher(threads, clock=CLOCK))


async def enrol(store: MemoryStore, name: str, vector: np.ndarray, profile: SubjectProfile) -> ShardPosition:
    """One subject with two templates."""
    templates = tuple(
        NewTemplate(TemplateRecord(TemplateId(f"{name}-{at}"), MODEL, AT, None, ""), half(one / np.linalg.norm(one)))
        for at, one in enumerate((vector, np.roll(vector, 3)))
    )
    audit = AuditRecord("EnrollSubject", AT, "ev-1", collection_id=STAFF)
    return (await store.enroll(Enrollment(STAFF, SubjectId(name), profile, templates, AT, audit))).position


def probes(count: int = 6) -> tuple[Embedding, ...]:
    """Some that tie with many, and some that tie with nobody."""
    tied = [Embedding.from_raw(np.eye(16)[at], MODEL) for at in range(count // 2)]
    return (*tied, *(Embedding.from_raw(RANDOM.normal(size=16), MODEL) for _ in range(count - len(tied))))


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(frozenset({"day"})), Wanted(at=AT)])
@pytest.mark.parametrize("limit", [1, 7, 100])
@pytest.mark.parametrize(
    "holds", [["0-2/8", "3-5/8", "6,7/8"], ["0-4/8", "3-7/8"], ["0/8", "1-7/8"], ["0-3/8", "", "4-7/8"]]
)
async def test_parts_answer_as_the_whole(town: Town, holds: list[str], limit: int, wanted: Wanted) -> None:
    """Ids, templates, scores, names and order, ties and filters included, also where holdings overlap."""
    asked = Asked(probes(), limit, wanted)
    whole = await town.ask(await town.gallery(""), [], asked)
    first, *others = [await town.gallery(one) for one in holds]
    spread = await town.ask(first, others, asked)
    assert spread.hits == whole.hits
    assert spread.positions == whole.positions
    assert spread.coverage.complete
    assert (spread.coverage.shards_searched, spread.coverage.exact) == (SHARDS, True)


async def test_a_claim_goes_to_who_holds_the_subject(town: Town) -> None:
    """Every subject is compared, from whichever gallery it is asked; nobody else is asked."""
    first, second = await town.gallery("0-3/8"), await town.gallery("4-7/8")
    scatter, live = Scatter(first.own, [second], CLOCK), await first.replica.collection(STAFF)
    whole = await town.gallery("")
    of_whole = await whole.replica.collection(STAFF)
    probe = probes()[-1]
    for number in range(0, SUBJECTS, 7):
        claim = Claim(SubjectId(f"s{number:03}"), Wanted())
        best = await scatter.best_of(live, claim, probe, soon())
        expected = await whole.own.best_of(of_whole, claim, probe)
        assert (best.hit, best.known, best.position) == (expected.hit, True, expected.position)
    held_there = [n for n in range(0, SUBJECTS, 7) if shard_of(SubjectId(f"s{n:03}"), SHARDS) >= 4]
    assert len(second.asked) == len(held_there)
    assert not (await scatter.best_of(live, Claim(SubjectId("nobody"), Wanted()), probe, soon())).known


async def test_a_part_holds_its_shards_alone_and_is_level(town: Town) -> None:
    """Its index has nothing of the others; where the store stands it knows of all, so that nobody waits for it."""
    part = await town.gallery("0-3/8")
    live = await part.replica.collection(STAFF)
    mine = [n for n in range(SUBJECTS) if shard_of(SubjectId(f"s{n:03}"), SHARDS) < 4]
    assert live.index.subject_count == len(mine)
    assert live.subjects_stored == SUBJECTS
    other = next(name for name in (f"x{n}" for n in range(99)) if shard_of(SubjectId(name), SHARDS) == 6)
    written = await enrol(town.store, other, np.eye(16)[0], SubjectProfile())
    live = await part.replica.catch_up(STAFF)
    assert (live.index.subject_count, live.subjects_stored) == (len(mine), SUBJECTS + 1)
    assert (live.sequence_of(6), live.missing([written])) == (written.sequence, None)
    assert part.replica.behind(STAFF).changes == 0
    assert live.missing([ShardPosition(1, live.sequence_of(1) + 1)]) == ShardPosition(1, live.sequence_of(1) + 1)


async def test_a_peer_that_fails_is_passed_over(town: Town) -> None:
    """Another one that holds the same is asked, and the answer is whole."""
    first, broken, good = await town.gallery("0-3/8"), await town.gallery("4-7/8"), await town.gallery("4-7/8")
    broken.refusal = UnavailableError("gallery", "down")
    for _ in range(2):  # whoever's turn it is
        assert (await town.ask(first, [broken, good], Asked(probes(), 5, Wanted()))).coverage.complete
    assert len(good.asked) == 2


async def test_a_peer_that_hangs_leaves_time_for_another(town: Town) -> None:
    """It is given half of the time, and no more."""
    first, stuck, good = await town.gallery("0-3/8"), await town.gallery("4-7/8"), await town.gallery("4-7/8")
    stuck.hangs = True
    for _ in range(2):
        answer = await town.ask(first, [stuck, good], Asked(probes(), 5, Wanted()), 2.0)
        assert answer.coverage.complete


async def test_peers_take_turns(town: Town) -> None:
    """Those that hold the same are asked one after the other, the doubtful ones last."""
    first, second, third = await town.gallery("0-3/8"), await town.gallery("4-7/8"), await town.gallery("4-7/8")
    scatter, live = Scatter(first.own, [second, third], CLOCK), await first.replica.collection(STAFF)
    for _ in range(6):
        await scatter.search(live, Asked(probes(), 1, Wanted()), soon())
    assert (len(second.asked), len(third.asked)) == (3, 3)
    second.is_doubtful = True
    for _ in range(4):
        await scatter.search(live, Asked(probes(), 1, Wanted()), soon())
    assert (len(second.asked), len(third.asked)) == (3, 7)


@pytest.mark.parametrize("how", ["refuses", "hangs", "absent"])
async def test_what_nobody_answers_for_is_missing(town: Town, how: str) -> None:
    """Without leave it is an error that says how much answered; with it the coverage says so."""
    first, second, third = await town.gallery("0-2/8"), await town.gallery("3-5/8"), await town.gallery("6,7/8")
    others = [second] if how == "absent" else [second, third]
    third.hangs, third.refusal = how == "hangs", UnavailableError("gallery")
    asked = Asked(probes(), 5, Wanted())
    with pytest.raises(GalleryIncompleteError) as refused:
        await town.ask(first, others, asked, 1.0)
    assert (refused.value.searched, refused.value.total) == (6, SHARDS)
    answer = await town.ask(first, others, asked, 1.0, allow_partial=True)
    assert (answer.coverage.complete, answer.coverage.shards_searched) == (False, 6)
    assert all(shard_of(hit.subject_id, SHARDS) < 6 for hits in answer.hits for hit in hits)
    assert all(answer.hits)


async def test_a_peer_that_holds_less_than_it_said_is_made_up_for(town: Town) -> None:
    """What it leaves out of its answer is asked of another."""
    first, changed, good = await town.gallery("0-3/8"), await town.gallery("4,5/8"), await town.gallery("6,7/8")
    changed.holding = Holding.parse("4-7/8")
    for _ in range(2):
        assert (await town.ask(first, [changed, good], Asked(probes(), 5, Wanted()))).coverage.complete


async def test_why_a_part_is_behind_is_told(town: Town) -> None:
    """A state that a part does not have is POSITION_NOT_REACHED, and another model is told at once."""
    first, second = await town.gallery("0-3/8"), await town.gallery("4-7/8")
    second.refusal = PositionNotReachedError(9, 3, 5, "BEHIND")
    with pytest.raises(PositionNotReachedError):
        await town.ask(first, [second], Asked(probes(), 5, Wanted()))
    second.refusal = ModelMismatchError("m@2", MODEL)
    with pytest.raises(ModelMismatchError):
        await town.ask(first, [second], Asked(probes(), 5, Wanted()), allow_partial=True)


async def test_a_claim_that_nobody_answers_is_no_answer(town: Town) -> None:
    """It is incomplete, not a subject that is not there."""
    first, second = await town.gallery("0-3/8"), await town.gallery("4-7/8")
    second.refusal = UnavailableError("gallery")
    scatter, live = Scatter(first.own, [second], CLOCK), await first.replica.collection(STAFF)
    name = next(f"s{n:03}" for n in range(SUBJECTS) if shard_of(SubjectId(f"s{n:03}"), SHARDS) > 3)
    with pytest.raises(GalleryIncompleteError):
        await scatter.best_of(live, Claim(SubjectId(name), Wanted()), probes()[0], soon())
    assert await scatter.knows(live, SubjectId(name)) is None
