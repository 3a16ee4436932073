"""Which works make the next batch: the turn, the group, the size. Pure: it takes no work out of any queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from encoder_svc.scheduling.costs import BatchCosts
from encoder_svc.scheduling.work import Batch, Release, Work, WorkClass


@dataclass(frozen=True, slots=True)
class BatchRules:
    """How batches are formed."""

    slice_s: float
    """A batch shall not keep the device longer: it is what a verify call waits for at most."""
    linger_share: float
    """On a busy device a batch that could grow waits for work that is on its way, until its oldest item has waited
    this share of the batch's own compute time."""
    source_frames: int
    """Pictures of one stream in a batch, at most."""
    hold_s: float
    """The last free lane waits so long for interactive work that is on its way, before it begins something else."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known beside the queues when a lane looks for work."""

    idle_lanes: int
    """Others, that wait for work too."""
    back_to_back: bool
    """This lane has just finished a batch: the device is busy, and waiting for a larger batch may pay."""
    on_the_way: int
    """Pictures that are being decoded or measured, and will submit work."""
    now_s: float


def form(
    lead: WorkClass,
    queues: Mapping[WorkClass, Sequence[Work]],
    costs: BatchCosts,
    rules: BatchRules,
    situation: Situation,
) -> Batch | float:
    """The batch whose turn it is.

    Args:
        lead: the class whose turn it is; it has work.
        queues: what waits, in the order of its arrival.
        costs: how long batches take.
        rules: of this device.
        situation: of the lane that asks.

    Returns:
        The batch; or how many seconds to wait for a larger one.
    """
    first = min(queues[lead], key=lambda work: _place(work, situation.now_s))
    group, most, cost = first.group, first.stage.max_items, first.stage.cost_key(first.bucket)
    members = _capped([work for work in queues[lead] if work.group == group], rules.source_frames)
    within = costs.largest_within(cost, rules.slice_s, most)
    size, release = _size(len(members), most, within, situation.idle_lanes)
    if release is Release.ALL and situation.back_to_back and situation.on_the_way and size < min(most, within):
        bound_s = rules.linger_share * (costs.predict(cost, size) or 0.0)
        waited_s = situation.now_s - min(work.submitted_s for work in members)
        if waited_s < bound_s:
            return bound_s - waited_s
        release = Release.LINGERED if bound_s > 0.0 else release
    taken = members[:size]
    # Nobody rides past those whose turn it is.
    riders = costs.riders(cost, size, most) if size == len(members) else 0
    if riders:
        others = [w for work_class in WorkClass if work_class is not lead for w in queues.get(work_class, ())]
        fitting = [work for work in others if work.group == group]
        taken = _capped([*taken, *fitting], rules.source_frames)[: size + riders]
    return Batch(first.stage, first.bucket, taken, lead, release)


def _place(work: Work, now_s: float) -> tuple[bool, int, int, float]:
    """Where a work stands within its class; the least goes first."""
    in_time = now_s - work.submitted_s <= work.stage.patience_s
    return in_time, work.stage.priority, -work.stage.order, work.submitted_s


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
        if work.source:
            seen = frames.setdefault(work.source, set())
            if id(work.frame) not in seen and len(seen) >= source_frames:
                continue
            seen.add(id(work.frame))
        kept.append(work)
    return kept
