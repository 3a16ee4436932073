"""What becomes of calls when three times as much is offered as can be done, and of a verify call behind 32 cameras.

Goodput counts what is answered in time while the load lasts. A refusal is an answer too: it must come at once, so that
a client can turn to another encoder. A verify call is measured alone, then behind the cameras, then alone again, by the
same client.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.encoder.arithmetic import percentile, percentile_interval
from benchmarks.encoder.orders import AFTER_THE_END, Closed, Open, Paced, Streams, Tally
from benchmarks.encoder.plan import PREFIX, Plan, Story
from benchmarks.encoder.worker import Load
from benchmarks.services import Service, service
from encoder_svc.settings import EncoderSettings

DEADLINE_S = 2.0
OVERLOAD = 3.0
GOODPUT_BAR, REFUSED_BAR_MS, INTERACTIVE_BAR = 0.85, 50.0, 2.0
STREAMS = 32
REFUSED = "RESOURCE_EXHAUSTED"
FLOOD = 48
SHIPPED = EncoderSettings()
RESERVED = {"interactive": 0.0, "enrolment": SHIPPED.enrolment_share, "stream": SHIPPED.stream_share}
"""The least share of the device of each class while it has work; interactive has what is left, and goes first."""
RESERVED_TOLERANCE = 0.9
"""The device is shared out in time; here images are counted, over a few seconds, that went in batches."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The best that closed loops got."""

    per_s: float
    concurrency: int


def overload(plan: Plan) -> Story:
    """Goodput and refusals; then the verify call behind cameras; then who starves."""
    story = Story()
    with service("encoder_svc", PREFIX, plan.settings()) as encoder:
        for priority in ("INTERACTIVE", "ENROLMENT"):
            _offer_too_much(story, plan, encoder, priority)
        _verify_behind_cameras(story, plan, encoder)
        _everybody_at_once(story, plan, encoder)
    return story


def find_peak(plan: Plan, load: Load, priority: str) -> Peak:
    """The highest goodput over a few numbers of calls under way."""
    seconds = plan.seconds(8, 3)
    found = [
        Peak(load.ask(Closed(n, seconds, 1.5, priority=priority, deadline_s=DEADLINE_S)).per_s(), n)
        for n in (4, 8, 16, 24)
    ]
    return max(found, key=lambda peak: peak.per_s)


def _offer_too_much(story: Story, plan: Plan, encoder: Service, priority: str) -> None:
    name = f"overload, {priority.lower()} calls"
    with Load(encoder.address) as load:
        peak = find_peak(plan, load, priority)
        tally = load.ask(Open(OVERLOAD * peak.per_s, plan.seconds(20, 6), DEADLINE_S, priority))
    share = tally.per_s() / peak.per_s
    refused = tally.latencies_ms.get(REFUSED, [])
    story.add(f"{name}: peak goodput", peak.per_s, "images/s")
    story.add(f"{name}: offered, Poisson, deadline {DEADLINE_S:g} s", OVERLOAD * peak.per_s, "images/s")
    story.add(f"{name}: goodput over its peak", share, "ratio", f"at least {GOODPUT_BAR}", share >= GOODPUT_BAR)
    _tell_refused(story, name, refused)
    total = sum(tally.counts.values())
    in_time = tally.count() + tally.count(AFTER_THE_END)
    story.add(f"{name}: in time", in_time, f"of {total}")
    story.add(f"{name}: refused", len(refused), f"of {total}")
    story.add(f"{name}: neither", total - in_time - len(refused), f"of {total}")
    story.add(f"{name}: calls left later than planned, p99", percentile(tally.late_ms, 0.99), "ms")


def _tell_refused(story: Story, name: str, refused_ms: list[float]) -> None:
    bar = f"under {REFUSED_BAR_MS:g}"
    if not refused_ms:
        # Three times too much and no refusal: the rest waited in vain until its deadline.
        story.add(f"{name}: refused, p99", "nobody was refused", "ms", bar, holds=False)
        return
    p99 = percentile(refused_ms, 0.99)
    story.add(f"{name}: refused, p50", percentile(refused_ms, 0.5), "ms")
    story.add(f"{name}: refused, p99", p99, "ms", bar, p99 < REFUSED_BAR_MS)


def _verify_behind_cameras(story: Story, plan: Plan, encoder: Service) -> None:
    calls, gap_s = plan.count(300, 30), plan.seconds(0.25, 0.1)
    with Load(encoder.address) as door, Load(encoder.address) as cameras:
        alone = door.ask(Paced(calls // 2, gap_s, seed=1)).latencies_ms["OK"]
        cameras.start(Streams(STREAMS, seconds=3600, warm_s=0))
        door.ask(Paced(plan.count(20, 5), gap_s, seed=2))
        behind = door.ask(Paced(calls, gap_s, seed=3))
        cameras.stop()
        seen = cameras.result()
        alone += door.ask(Paced(calls - calls // 2, gap_s, seed=4)).latencies_ms["OK"]
    _tell_verify(story, alone, behind, seen)


def _tell_verify(story: Story, alone: list[float], behind: Tally, seen: Tally) -> None:
    name = f"verify behind {STREAMS} streams"
    behind_ms = behind.latencies_ms.get("OK", [])
    ratio = percentile(behind_ms, 0.99) / percentile(alone, 0.99)
    bar = f"under {INTERACTIVE_BAR:g}"
    story.add(f"{name}: p99 over its p99 when alone", ratio, "ratio", bar, ratio < INTERACTIVE_BAR)
    for what, values in (("alone", alone), ("behind the streams", behind_ms)):
        low, high = percentile_interval(values, 0.99)
        story.add(f"{name}: {what}, p50", percentile(values, 0.5), "ms")
        story.add(f"{name}: {what}, p99 of {len(values)}", percentile(values, 0.99), "ms")
        story.add(f"{name}: {what}, p99, 95 % interval", f"{low:.0f} to {high:.0f}", "ms")
    failed = sum(behind.counts.values()) - len(behind_ms)
    story.add(f"{name}: verify calls that failed", failed, "calls", "0", failed == 0)
    story.add(f"{name}: frames encoded beside them", seen.per_s(), "images/s")


def _everybody_at_once(story: Story, plan: Plan, encoder: Service) -> None:
    """Interactive calls alone would fill the device; so would enrolment; so would the streams."""
    seconds, warm_s = plan.seconds(20, 6), plan.seconds(4, 2)
    with Load(encoder.address) as doors, Load(encoder.address) as desks, Load(encoder.address) as cameras:
        doors.start(Closed(FLOOD, seconds, warm_s, "INTERACTIVE", deadline_s=10))
        desks.start(Closed(FLOOD, seconds, warm_s, "ENROLMENT", deadline_s=10))
        cameras.start(Streams(STREAMS, seconds, warm_s))
        done = {
            work_class: load.result(seconds + warm_s + 60).per_s()
            for work_class, load in (("interactive", doors), ("enrolment", desks), ("stream", cameras))
        }
    total = sum(done.values())
    for work_class, reserved in RESERVED.items():
        share = done[work_class] / total if total else 0.0
        bar = f"above 0, and at least {RESERVED_TOLERANCE} of the reserved {reserved:g}"
        holds = share > 0 and share >= RESERVED_TOLERANCE * reserved
        story.add(f"all classes flood: share of {work_class}", share, "of all images", bar, holds)
        story.add(f"all classes flood: {work_class}", done[work_class], "images/s")
