"""Which items make a batch, decided on queues that a test fills by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_svc.scheduling.costs import BatchCosts
from encoder_svc.scheduling.forming import BatchRules, Situation, form
from encoder_svc.scheduling.work import Asker, Batch, Release, Stage, Work, WorkClass

RULES = BatchRules(slice_s=0.06, linger_share=0.25, source_frames=1)
NOW_S = 100.0
IDLE = Situation(idle_lanes=0, back_to_back=False, on_the_way=0, now_s=NOW_S)
BUSY = replace(IDLE, back_to_back=True, on_the_way=3)
INTERACTIVE, STREAM = WorkClass.INTERACTIVE, WorkClass.STREAM


def _stage(name: str = "detect", order: int = 0, priority: int = 0, most: int = 16) -> Stage:
    return Stage(name, f"encoder-{priority}", order, most, list, priority)


DETECT, EMBED = _stage(), _stage("embed", 1)


def _work(
    stage: Stage = DETECT,
    work_class: WorkClass = STREAM,
    *,
    bucket: object = "shape",
    source: str = "",
    asker: Asker | None = None,
    waited_s: float = 0.0,
) -> Work:
    return Work(stage, bucket, object(), asker or Asker(work_class, source), NOW_S - waited_s)


def _costs(seconds: dict[int, float], stage: Stage = DETECT) -> BatchCosts:
    costs = BatchCosts()
    for items, value in seconds.items():
        costs.observe(stage.cost_key("shape"), items, value)
    return costs


CHEAP = _costs({1: 0.01, 16: 0.05})


def _form(
    works: Sequence[Work],
    costs: BatchCosts = CHEAP,
    rules: BatchRules = RULES,
    situation: Situation = IDLE,
    lead: WorkClass = STREAM,
) -> Batch | float:
    queues = {work_class: [w for w in works if w.asker.work_class is work_class] for work_class in WorkClass}
    return form(lead, queues, costs, rules, situation)


def _formed(
    works: Sequence[Work],
    costs: BatchCosts = CHEAP,
    rules: BatchRules = RULES,
    situation: Situation = IDLE,
    lead: WorkClass = STREAM,
) -> Batch:
    batch = _form(works, costs, rules, situation, lead)
    assert isinstance(batch, Batch)
    return batch


# ---- how many


def test_a_free_lane_takes_all_that_waits_at_once() -> None:
    """In the order it came."""
    works = [_work() for _ in range(5)]
    batch = _formed(works)
    assert batch.works == works
    assert batch.release is Release.ALL
    assert batch.lead is STREAM


def test_no_batch_is_larger_than_the_network_was_warmed_up_for() -> None:
    """FULL; the rest waits."""
    batch = _formed([_work() for _ in range(20)])
    assert (len(batch.works), batch.release) == (16, Release.FULL)


def test_no_batch_takes_longer_than_its_slice() -> None:
    """SLICE: the largest that is predicted to be quick enough."""
    batch = _formed([_work() for _ in range(9)], _costs({1: 0.02, 2: 0.04, 3: 0.06}))
    assert (len(batch.works), batch.release) == (3, Release.SLICE)


def test_what_is_slower_than_a_slice_goes_alone() -> None:
    """It goes, nevertheless."""
    batch = _formed([_work(), _work()], _costs({1: 5.0}))
    assert (len(batch.works), batch.release) == (1, Release.SLICE)


@pytest.mark.parametrize(("waiting", "idle", "taken"), [(4, 1, 2), (5, 1, 3), (4, 3, 1), (1, 3, 1)])
def test_idle_lanes_get_their_part(waiting: int, idle: int, taken: int) -> None:
    """SPLIT: two lanes are done sooner with half of it each."""
    batch = _formed([_work() for _ in range(waiting)], situation=replace(IDLE, idle_lanes=idle))
    assert len(batch.works) == taken
    assert batch.release is (Release.ALL if taken == waiting else Release.SPLIT)


@given(st.integers(1, 40), st.integers(0, 4), st.floats(0.001, 0.2), st.integers(1, 16))
def test_a_batch_always_keeps_to_every_bound(waiting: int, idle: int, slice_s: float, most: int) -> None:
    """At least one; at most the stage's, the slice's and a lane's part; in the order of arrival, without repeats."""
    stage = _stage(most=most)
    costs, works = _costs({1: 0.01, 16: 0.1}, stage), [_work(stage) for _ in range(waiting)]
    batch = _formed(works, costs, replace(RULES, slice_s=slice_s), replace(IDLE, idle_lanes=idle))
    size = len(batch.works)
    assert batch.works == works[:size]
    assert 1 <= size <= min(most, -(-waiting // (idle + 1)))
    predicted_s = costs.predict(stage.cost_key("shape"), size)
    assert predicted_s is not None
    assert size == 1 or predicted_s <= slice_s


# ---- which


def test_faces_go_before_new_pictures_of_their_class() -> None:
    """What has begun is finished first, although it came later."""
    works = [_work(waited_s=0.05), _work(EMBED)]
    assert _formed(works).stage is EMBED


def test_an_encoder_that_matters_more_goes_first() -> None:
    """Its new pictures go before the other one's faces."""
    minor = _stage("embed", 1, priority=3)
    assert _formed([_work(minor, waited_s=0.5), _work()]).stage is DETECT


def test_who_has_waited_longest_decides_the_shape() -> None:
    """Of two shapes of one stage, and only items of that shape come along."""
    works = [_work(bucket="wide", waited_s=0.1), _work(bucket="tall", waited_s=0.2), _work(bucket="wide")]
    batch = _formed(works)
    assert batch.bucket == "tall"
    assert batch.works == [works[1]]


def test_what_is_out_of_patience_goes_before_all_others_of_its_class() -> None:
    """A rehearsal is not put off for ever; while it is patient it is last."""
    last = Stage("rehearsal", "new", -1, 1, list, 1_000_000, patience_s=1.0)
    assert _formed([_work(last, waited_s=0.9), _work()]).stage is DETECT
    assert _formed([_work(last, waited_s=1.1), _work()]).stage is last


def test_a_stream_gets_no_more_than_its_pictures_into_a_batch() -> None:
    """A camera with two frames under way does not push others out; all faces of a picture count as one."""
    picture = Asker(STREAM, "a")
    mine = [_work(asker=picture), _work(asker=picture), _work(source="a")]
    batch = _formed([*mine, _work(source="b"), _work()])
    assert [work.asker.source for work in batch.works] == ["a", "a", "b", ""]
    assert mine[2] not in batch.works
    assert len(_formed(mine, rules=replace(RULES, source_frames=2)).works) == 3


# ---- who rides along


def test_others_ride_where_it_is_nearly_free() -> None:
    """A frame comes along with a verify call when the batch grows by less than a tenth."""
    verify, frame = _work(work_class=INTERACTIVE), _work()
    flat = _costs({1: 0.01, 2: 0.0105, 3: 0.02})
    batch = _formed([frame, verify, _work()], flat, lead=INTERACTIVE)
    assert batch.works == [verify, frame]


def test_others_do_not_ride_where_it_costs_time() -> None:
    """A verify call does not pay for a frame."""
    batch = _formed([_work(), _work(work_class=INTERACTIVE)], _costs({1: 0.01, 2: 0.02}), lead=INTERACTIVE)
    assert len(batch.works) == 1


def test_nobody_rides_past_those_whose_turn_it_is() -> None:
    """As long as items of the class itself are left behind, others do not come along."""
    works = [_work(work_class=INTERACTIVE) for _ in range(4)]
    nearly_flat = _costs({1: 0.058, 2: 0.059, 3: 0.061})
    batch = _formed([_work(), *works], nearly_flat, lead=INTERACTIVE)
    assert batch.works == works[:2]


def test_riders_keep_to_the_cap_of_their_stream() -> None:
    """Also as guests."""
    riders = [_work(source="a"), _work(source="a")]
    flat = _costs({1: 0.01, 16: 0.01})
    batch = _formed([_work(work_class=INTERACTIVE), *riders], flat, lead=INTERACTIVE)
    assert batch.works[1:] == riders[:1]


# ---- waiting for more


def test_a_busy_lane_waits_for_pictures_that_are_on_their_way() -> None:
    """For a share of the batch's own time, and no longer."""
    assert _form([_work()], situation=BUSY) == pytest.approx(0.25 * 0.01)


def test_the_wait_counts_from_the_oldest_item() -> None:
    """Newcomers do not prolong it."""
    costs = _costs({1: 0.02, 2: 0.04, 3: 0.05})
    left_s = _form([_work(waited_s=0.007), _work()], costs, situation=BUSY)
    assert left_s == pytest.approx(0.25 * 0.04 - 0.007)
    batch = _formed([_work(waited_s=0.0101), _work()], costs, situation=BUSY)
    assert batch.release is Release.LINGERED


@given(st.lists(st.floats(0.0, 0.1), min_size=1, max_size=15))
def test_a_wait_is_never_longer_than_a_share_of_the_batch(waited_s: list[float]) -> None:
    """And never zero or less, whatever has waited."""
    works = [_work(waited_s=one) for one in waited_s]
    left = _form(works, situation=BUSY)
    run_s = CHEAP.predict(DETECT.cost_key("shape"), len(works))
    assert run_s is not None
    if not isinstance(left, Batch):
        assert 0.0 < left <= 0.25 * run_s - max(waited_s) + 1e-9


@pytest.mark.parametrize(
    ("situation", "works"),
    [
        (replace(BUSY, on_the_way=0), 1),
        (replace(BUSY, back_to_back=False), 1),
        (BUSY, 16),
    ],
)
def test_nobody_waits_for_nothing(situation: Situation, works: int) -> None:
    """Not when nothing comes, not on a device that was idle, not with a full batch."""
    assert len(_formed([_work() for _ in range(works)], situation=situation).works) == works


def test_a_batch_that_may_grow_lets_a_full_one_go_first() -> None:
    """Waiting costs nothing while there is other work; but no longer than its own run."""
    faces = _costs({1: 0.01, 16: 0.05}, EMBED)
    for size, seconds in ((1, 0.01), (16, 0.05)):
        faces.observe(DETECT.cost_key("shape"), size, seconds)
    full = [_work() for _ in range(16)]
    assert _formed([_work(EMBED), *full], faces).stage is DETECT
    assert _formed([_work(EMBED, waited_s=0.02), *full], faces).stage is EMBED


def test_a_batch_that_may_grow_lets_no_lower_priority_go_first() -> None:
    """The encoder that matters more keeps its place."""
    minor = _stage(priority=1, most=1)
    assert _formed([_work(minor), _work(waited_s=0.001)]).stage is DETECT
