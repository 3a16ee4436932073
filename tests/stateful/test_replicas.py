"""Two galleries over one store, in any order of what people and faults do: they answer what a dictionary would.

Each replica's tail can be held up, is read two changes at a time, and may find its log trimmed. What a replica is asked
for with positions is compared with the model; what it answers without them may be old, and never brings back who is
gone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from prometheus_client import CollectorRegistry

from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.protocol import Hit, Put, Wanted
from gallery_svc.live import LiveCollection
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.probes import Deadline
from gallery_svc.replica import HISTORY_LOST, Replica
from gallery_svc.rows import RowBatch, SearchProfile, SearchRow, TemplateRow
from gallery_svc.store.change_records import Change
from gallery_svc.store.collection_records import Position, ShardPosition
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.protocol import Store
from gallery_svc.store.subject_records import SubjectProfile
from gallery_svc.store.write_records import (
    Changed,
    Enrolled,
    Enrollment,
    Erased,
    Erasure,
    ProfileUpdate,
    RequestKey,
    TemplateDeletion,
)
from tessera.chassis.clock import SystemClock
from tessera.domain.embedding import Embedding
from tessera.domain.errors import ExpiredError, NotFoundError, PositionNotReachedError, PreconditionError
from tessera.domain.ids import CollectionId, SubjectId, TemplateId
from tests.congruence.redis_world import store_at
from tests.congruence.store_world import MODEL, STAFF, audit, collection, request, template
from tests.measure import measure_of_this_run
from tests.plain_index import PlainIndex
from tests.servers import client_of
from tests.told import tell
from tests.valkey import running_server

T = TypeVar("T")
Written = Enrolled | Changed | Erased
MakeStore = Callable[[], Awaitable[Store]]
Ask = Callable[[], Awaitable[Written]]

SHARDS = 3
AT_A_READ = 2
BEGIN = datetime(2026, 11, 22, tzinfo=UTC)
TURN = BEGIN + timedelta(days=1)
"""Half of the profiles end here."""

_numbers = np.random.default_rng(4).normal(size=(7, 8))
VECTORS = [Embedding.from_raw(row, MODEL).vector for row in _numbers]

subjects = st.sampled_from([SubjectId(f"p{number}") for number in range(6)])
template_names = st.sampled_from(["x", "y", "z"])
vectors = st.integers(0, len(VECTORS) - 1)
replicas = st.integers(0, 1)
lookers = st.sampled_from([0, 1, None])
"""Who looks at a write by its position, just after it."""
profiles = st.builds(
    SubjectProfile,
    display_name=st.sampled_from(["", "Ada", "Bob"]),
    labels=st.sampled_from([(), ("day",), ("night", "day")]),
    camera_ids=st.sampled_from([(), ("door",)]),
    valid_until=st.sampled_from([None, TURN]),
)
wishes = st.builds(
    Wanted,
    labels=st.sampled_from([frozenset[str](), frozenset({"day"}), frozenset({"day", "night"})]),
    camera_id=st.sampled_from(["", "door", "gate"]),
    at=st.sampled_from([None, BEGIN, TURN]),
)


class HeldTail:
    """One replica's way to the store: it can be held up, and brings few changes at a time.

    Args:
        store: whose rows and changes come late; all else is passed on.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.may_go = asyncio.Event()
        self.may_go.set()

    async def changes_after(
        self, collection_id: CollectionId, shard: int, position: Position, limit: int
    ) -> list[Change] | None:
        """Few changes, when they may go."""
        await self.may_go.wait()
        return await self._store.changes_after(collection_id, shard, position, min(limit, AT_A_READ))

    async def load_rows(self, collection_id: CollectionId, shard: int, epoch: int) -> AsyncIterator[RowBatch]:
        """Rows, when they may go."""
        await self.may_go.wait()
        async for batch in self._store.load_rows(collection_id, shard, epoch):
            yield batch

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was answered, and how to ask it again."""

    again: Ask
    answer: Written
    incarnation: int
    """Which enrolment of its subject id it belongs to."""


class TwoReplicas(RuleBasedStateMachine):
    """A store, two replicas of it, and a dictionary of who is enrolled.

    Args:
        make_store: makes the store.
        tried: counts runs and steps.
    """

    def __init__(self, make_store: MakeStore, tried: Counter[str]) -> None:
        super().__init__()
        self._make_store = make_store
        self._tried = tried
        self._loop = asyncio.new_event_loop()
        self.people: dict[SubjectId, SearchRow] = {}
        self.incarnations: dict[SubjectId, int] = {}
        self.newest: dict[int, ShardPosition] = {}
        self.erased: dict[SubjectId, ShardPosition] = {}
        self.asked: list[Asked] = []
        self.writes = 0

    @initialize()
    def begin(self) -> None:
        """An empty collection, and two replicas that have loaded it."""
        self._tried["runs"] += 1
        self.store = self._run(self._make_store())
        self._run(self.store.create_collection(collection(shards=SHARDS)))
        self.tails = [HeldTail(self.store), HeldTail(self.store)]
        self.replicas = [self._replica(tail) for tail in self.tails]
        for number, display_name in enumerate(("Ada", "Bob", "Lea", "Eve")):
            profile = SubjectProfile(display_name=display_name, labels=("day",))
            self.enroll(SubjectId(f"p{number}"), {"x", "y"}, number, profile, None)
        for one in self.replicas:
            self._run(one.collection(STAFF))

    def teardown(self) -> None:
        """Close what is open."""
        for tail in getattr(self, "tails", ()):
            tail.may_go.set()
        for one in getattr(self, "replicas", ()):
            self._run(one.close())
        if hasattr(self, "store"):
            self._run(self.store.close())
        self._loop.close()

    # ---- what people do

    @rule(subject_id=subjects, names=st.sets(template_names, min_size=1), vector=vectors, profile=profiles, by=lookers)
    def enroll(
        self, subject_id: SubjectId, names: set[str], vector: int, profile: SubjectProfile, by: int | None
    ) -> None:
        """Templates for a subject, who may be new, or be there again after an erasure."""
        new = [template(f"{subject_id}-{n}", VECTORS[(vector + at) % 7].tolist()) for at, n in enumerate(sorted(names))]
        wanted = Enrollment(STAFF, subject_id, profile, tuple(new), self._now(), audit(), self._key())
        if subject_id not in self.people:
            self.incarnations[subject_id] = self.incarnations.get(subject_id, 0) + 1
        self._remember(subject_id, lambda: self.store.enroll(wanted))
        ids = {each.record.template_id for each in new}
        before = self.people.get(subject_id)
        kept = tuple(t for t in before.templates if t.template_id not in ids) if before else ()
        rows = tuple(TemplateRow(each.record.template_id, each.vector) for each in new)
        searched = _over(before.profile, profile) if before else profile.searched
        self.people[subject_id] = SearchRow(subject_id, searched, kept + rows)
        self.erased.pop(subject_id, None)
        self._look(by, subject_id)

    @rule(subject_id=subjects, profile=profiles)
    def update(self, subject_id: SubjectId, profile: SubjectProfile) -> None:
        """What is said of a subject, all of it."""
        fields = frozenset({"display_name", "labels", "camera_ids", "valid_until"})
        wanted = ProfileUpdate(STAFF, subject_id, profile, fields, self._now(), audit(), 0, self._key())
        if self._write(subject_id, lambda: self.store.update_profile(wanted)):
            self.people[subject_id] = replace(self.people[subject_id], profile=profile.searched)

    @rule(subject_id=subjects, name=template_names)
    def delete_template(self, subject_id: SubjectId, name: str) -> None:
        """One template; the last one stays."""
        template_id = TemplateId(f"{subject_id}-{name}")
        wanted = TemplateDeletion(STAFF, subject_id, template_id, self._now(), audit(), self._key())
        row = self.people.get(subject_id)
        held = {each.template_id for each in row.templates} if row else set()
        if held == {template_id}:
            with pytest.raises(PreconditionError):
                self._run(self.store.delete_template(wanted))
        elif template_id not in held:
            with pytest.raises(NotFoundError):
                self._run(self.store.delete_template(wanted))
        elif row is not None:
            self._write(subject_id, lambda: self.store.delete_template(wanted))
            left = tuple(each for each in row.templates if each.template_id != template_id)
            self.people[subject_id] = replace(row, templates=left)

    @rule(subject_id=subjects, by=lookers)
    def erase(self, subject_id: SubjectId, by: int | None) -> None:
        """A subject with everything."""
        key = self._key()
        wanted = Erasure(STAFF, subject_id, f"receipt-{self.writes}", 0, self._now(), audit(), key)
        if self._write(subject_id, lambda: self.store.erase(wanted)):
            del self.people[subject_id]
            self.erased[subject_id] = self.asked[-1].answer.position
            self._look(by, subject_id)

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        """A request that was answered gets its answer again and changes nothing; of who was erased, nothing is told."""
        if not self.asked:
            return
        earlier = data.draw(st.sampled_from(self.asked))
        subject_id = _subject_of(earlier.answer)
        gone = subject_id not in self.people or self.incarnations[subject_id] != earlier.incarnation
        if gone and not isinstance(earlier.answer, Erased):
            with pytest.raises(NotFoundError):
                self._run(earlier.again())
            return
        answer = self._run(earlier.again())
        assert (answer.replayed, answer.position) == (True, earlier.answer.position)

    # ---- what happens to the replicas

    @rule(which=replicas)
    def hold(self, which: int) -> None:
        """Nothing of the store's log comes through to one of them, until somebody has the patience."""
        self.tails[which].may_go.clear()

    @rule(which=replicas)
    def follow(self, which: int) -> None:
        """The look that a gallery takes four times a second; it does not wait for what it begins."""
        self._run(self.replicas[which].refresh())

    @rule(which=replicas)
    def forget(self, which: int) -> None:
        """A gallery is started anew, and loads."""
        self.tails[which].may_go.set()
        self._run(self.replicas[which].close())
        self.replicas[which] = self._replica(self.tails[which])
        self._run(self.replicas[which].collection(STAFF))

    @rule(subject_id=subjects)
    def trim(self, subject_id: SubjectId) -> None:
        """The logs forget what they have told so far, just after somebody went."""
        self.erase(subject_id, None)
        for shard, at in self.newest.items():
            self._run(self.store.trim_log(STAFF, shard, at.sequence))

    # ---- what is asked

    @rule(which=replicas, patient=st.booleans(), limit=st.integers(1, 7), probe=vectors, wanted=wishes)
    def search(self, which: int, *, patient: bool, limit: int, probe: int, wanted: Wanted) -> None:
        """With the newest positions: what the model finds, in its order, by its names, as many as there are up to k."""
        if patient:
            self.tails[which].may_go.set()
        live = self._at_newest(which)
        if live is None:
            return
        model = PlainIndex(MODEL)
        model.apply([Put(row) for row in self.people.values()])
        seen = Embedding(VECTORS[probe], MODEL)
        _same(live.index.search(seen, limit, wanted), model.search(seen, limit, wanted))
        assert (live.index.subject_count, live.index.template_count) == (model.subject_count, model.template_count)
        for subject_id in self.people:
            assert self.replicas[which].name_of(STAFF, subject_id) == model.name_of(subject_id)

    @rule(which=replicas, shard=st.integers(0, SHARDS - 1))
    def ask_beyond(self, which: int, shard: int) -> None:
        """A position that nobody wrote is not waited for."""
        beyond = ShardPosition(shard, self.newest.get(shard, ShardPosition(shard, 0)).sequence + 1)
        if self.tails[which].may_go.is_set():
            with pytest.raises(PositionNotReachedError) as refused:
                self._run(self.replicas[which].at_positions(STAFF, [beyond], _soon()))
            assert refused.value.why == HISTORY_LOST

    @invariant()
    def who_is_erased_stays_away(self) -> None:
        """As soon as a replica says that it is so far; and one that says that it has all has as many as there are."""
        self._tried["steps"] += 1
        for live in self._alive():
            for subject_id, at in self.erased.items():
                assert live.sequence_of(at.shard) < at.sequence or subject_id not in live.index
            if live.missing(list(self.newest.values())) is None:
                assert live.index.subject_count == len(self.people)

    # ---- inside

    def _run(self, work: Awaitable[T]) -> T:
        return self._loop.run_until_complete(_awaited(work))

    def _replica(self, tail: HeldTail) -> Replica:
        metrics = GalleryMetrics(CollectorRegistry())
        return Replica(cast("Store", tail), ExactIndex, metrics, SystemClock(), max_position_wait_s=60.0)

    def _now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.writes)

    def _key(self) -> RequestKey:
        self.writes += 1
        return request(f"r{self.writes}", f"digest of {self.writes}")

    def _write(self, subject_id: SubjectId, ask: Ask) -> bool:
        """Write, and remember what was answered; False: the subject is not there, and that was said."""
        if subject_id not in self.people:
            with pytest.raises(NotFoundError):
                self._run(ask())
            return False
        self._remember(subject_id, ask)
        return True

    def _remember(self, subject_id: SubjectId, ask: Ask) -> None:
        answer = self._run(ask())
        assert not answer.replayed
        before = self.newest.get(answer.position.shard)
        assert answer.position.sequence == (before.sequence + 1 if before else 1)
        self.newest[answer.position.shard] = answer.position
        self.asked.append(Asked(ask, answer, self.incarnations[subject_id]))

    def _look(self, by: int | None, subject_id: SubjectId) -> None:
        """Read-your-writes: the replica has what was just written, or it is held up and says so."""
        live = None if by is None else self._at_newest(by)
        assert live is None or (subject_id in live.index) == (subject_id in self.people)

    def _at_newest(self, which: int) -> LiveCollection | None:
        """A replica with all that was written; None: it is held up, and says so."""
        wanted, held = list(self.newest.values()), not self.tails[which].may_go.is_set()
        if held and STAFF not in self.replicas[which].positions():
            return None  # nothing is loaded, so that there is nothing to be asked
        try:
            return self._run(self.replicas[which].at_positions(STAFF, wanted, _soon(0.01 if held else 60.0)))
        except PositionNotReachedError as refused:
            if not held or refused.why == HISTORY_LOST:
                raise
            return None
        except ExpiredError:  # a busy machine had not even begun
            if not held:
                raise
            return None

    def _alive(self) -> list[LiveCollection]:
        loaded = [one for one in getattr(self, "replicas", ()) if STAFF in one.positions()]
        return [self._run(one.collection(STAFF)) for one in loaded]


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def _soon(seconds: float = 20.0) -> Deadline:
    return Deadline(SystemClock(), seconds)


def _over(before: SearchProfile, given: SubjectProfile) -> SearchProfile:
    """What an enrolment leaves empty stays as it was."""
    new = given.searched
    return SearchProfile(
        new.display_name or before.display_name,
        new.labels or before.labels,
        new.camera_ids or before.camera_ids,
        new.valid_from or before.valid_from,
        new.valid_until or before.valid_until,
    )


def _subject_of(answer: Written) -> SubjectId:
    return answer.subject_id if isinstance(answer, Erased) else answer.subject.subject_id


def _same(found: list[Hit], wanted: list[Hit]) -> None:
    told = [(hit.subject_id, hit.template_id, hit.display_name) for hit in found]
    assert told == [(hit.subject_id, hit.template_id, hit.display_name) for hit in wanted]
    np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in wanted], rtol=0, atol=1e-12)


async def _in_memory() -> Store:
    return MemoryStore()


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_two_replicas_answer_what_a_dictionary_would() -> None:
    """Over the store in memory; the same examples each time."""
    tried = Counter[str]()
    _try("the store in memory", measure_of_this_run().examples, 40, lambda: TwoReplicas(_in_memory, tried), tried)


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_replicas_over_a_server_answer_what_a_dictionary_would(tmp_path: Path) -> None:
    """The same over Valkey, sealed; each example ends with a check that finds nothing."""
    tried = Counter[str]()
    with running_server(tmp_path) as server:

        async def prepared() -> Store:
            with client_of(server) as client:
                client.flushall()
            store = store_at(server.url)
            await store.prepare()
            return store

        class Checked(TwoReplicas):
            """Looks at the store when all is over."""

            def teardown(self) -> None:
                """Check, then close."""
                findings = self._run(self.store.check(STAFF)) if hasattr(self, "store") else []
                super().teardown()
                assert findings == []

        _try("Valkey", measure_of_this_run().examples // 3, 30, lambda: Checked(prepared, tried), tried)


def _try(where: str, examples: int, steps: int, make: Callable[[], TwoReplicas], tried: Counter[str]) -> None:
    """Run the machine, and tell what was tried."""
    some = settings(max_examples=examples, stateful_step_count=steps, derandomize=True, deadline=None)
    try:
        run_state_machine_as_test(cast("type[TwoReplicas]", make), settings=some)
    except Exception:
        tell(f"two replicas over {where}: runs that end well", "not all", f"of {tried['runs']}", "all", holds=False)
        raise
    tell(f"two replicas over {where}: runs that end well", tried["runs"], f"of {tried['runs']}", "all", holds=True)
    tell(f"two replicas over {where}: steps, each with every promise looked at", tried["steps"], "steps")
