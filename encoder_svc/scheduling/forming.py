"""Which works make the next batch: the turn, the group, the size. Pure: it takes no work out of any queue."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from encoder_svc.scheduling.costs import BatchCosts
from encoder_svc.scheduling.work import Batch, Release, Stage, Work, WorkClass


@dataclass(frozen=True, slots=True)
class BatchRules:
    """How batches are formed."""

    slice_s: float
    """A batch may keep a lane so long, or as long as one picture alone does where that is longer: it is what a verify
    call waits for at most."""
    linger_share: float
    """A lane that has just finished a batch and has nothing but a batch that could grow waits for work that is on its
    way, until the oldest item has waited this share of the batch's own compute time."""
    source_frames: int
    """Pictures of one stream in a batch, at most."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known beside the queues when a lane looks for work."""

    idle_lanes: int
    """Others, that wait for work too."""
    back_to_back: bool
    """This lane has just finished a batch: the device is busy, and waiting for a larger batch may pay."""
    on_the_way: int
    """Pictures of the class that are being decoded or measured beside the networks, and will want more."""
    now_s: float


def form(
    lead: WorkClass,
    queues: Mapping[WorkClass, Sequence[Work]],
    costs: BatchCosts,
    rules: BatchRules,
    situation: Situation,
) -> Batch | float:
    """The batch whose turn it is.

    Within the class, later stages come first. A group that could still grow is passed over while another has a batch
    to run, until its oldest item has waited as long as its batch would run: waiting costs nothing then.

    Args:
        lead: the class whose turn it is; it has work.
        queues: what waits, in the order of its arrival.
        costs: how long batches take.
        rules: of this device.
        situation: of the lane that asks.

    Returns:
        The batch; or how many seconds to wait for a larger one.
    """
    offers = [_offer(works, costs, rules, situation) for works in _groups(queues[lead], situation.now_s)]
    # Of one encoder's priority alone: a growing batch does not wait for what should wait for it.
    equals = [one for one in offers if one.priority == offers[0].priority]
    offer = next((one for one in equals if not one.may_grow or one.waited_s >= one.run_s), offers[0])
    release = offer.release
    if offer.may_grow and situation.back_to_back and situation.on_the_way:
        bound_s = rules.linger_share * offer.run_s
        if offer.waited_s < bound_s:
            return bound_s - offer.waited_s
        release = Release.LINGERED if bound_s > 0.0 else release
    first, taken = offer.works[0], offer.works[: offer.size]
    riders = costs.riders(first.stage.cost_key(first.bucket), offer.size, first.stage.max_items)
    # Nobody rides past those whose turn it is.
    if riders and offer.size == len(offer.works):
        others = [w for work_class in WorkClass if work_class is not lead for w in queues.get(work_class, ())]
        fitting = [work for work in others if work.group == first.group]
        taken = _capped([*taken, *fitting], rules.source_frames)[: offer.size + riders]
    return Batch(first.stage, first.bucket, taken, lead, release)


@dataclass(frozen=True, slots=True)
class _Offer:
    works: list[Work]
    size: int
    release: Release
    may_grow: bool
    """It takes all that waits, and would take more."""
    waited_s: float
    """Since its oldest item was submitted."""
    run_s: float
    """What it will take; 0 when nothing is known."""

    @property
    def priority(self) -> int:
        return self.works[0].stage.priority


def _groups(works: Sequence[Work], now_s: float) -> list[list[Work]]:
    """What may share a batch, by precedence: patience at its end, priority, later stages, the longest wait."""
    groups: dict[tuple[Stage, Hashable], list[Work]] = {}
    for work in works:
        groups.setdefault(work.group, []).append(work)
    return sorted(groups.values(), key=lambda group: _place(group[0], now_s))


def _place(oldest: Work, now_s: float) -> tuple[bool, int, int, float]:
    patient = now_s - oldest.submitted_s <= oldest.stage.patience_s
    return patient, oldest.stage.priority, -oldest.stage.order, oldest.submitted_s


def _offer(works: Sequence[Work], costs: BatchCosts, rules: BatchRules, situation: Situation) -> _Offer:
    stage, cost = works[0].stage, works[0].stage.cost_key(works[0].bucket)
    members = _capped(works, rules.source_frames)
    slice_s = max(rules.slice_s, costs.alone_s(stage.encoder))
    # Whether one more than there are would fit is all that is asked of larger ones.
    within = costs.largest_within(cost, slice_s, min(stage.max_items, len(members) + 1))
    size, release = _size(len(members), stage.max_items, within, situation.idle_lanes)
    may_grow = release is Release.ALL and size < within
    waited_s = situation.now_s - min(work.submitted_s for work in members)
    return _Offer(members, size, release, may_grow, waited_s, costs.predict(cost, size) or 0.0)


def _size(waiting: int, most: int, within: int, idle_lanes: int) -> tuple[int, Release]:
    fair = -(-waiting // (idle_lanes + 1))
    size = min(waiting, most, within, fair)
    if size == waiting:
        return size, Release.ALL
    if size == most:
        return size, Release.FULL
    return size, Release.SLICE if size == within else Release.SPLIT


def _capped(works: Sequence[Work], source_frames: int) -> list[Work]:
    """Leave out what comes from a further picture of a stream that has its pictures in already."""
    frames: dict[str, set[int]] = {}
    kept = []
    for work in works:
        if work.asker.source:
            seen = frames.setdefault(work.asker.source, set())
            if id(work.asker) not in seen and len(seen) >= source_frames:
                continue
            seen.add(id(work.asker))
        kept.append(work)
    return kept
