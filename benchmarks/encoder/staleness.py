"""How old an answer is when a camera offers twice what the encoder can do, and whether memory stays where it is.

What the encoder can do for one camera is measured first: a stream that always has a fresh frame at hand. Then a camera
offers exactly twice as much, keeps only its newest frame, and sends it when it has a credit ("100 frames a second
offered to a server that can do 50"). Staleness runs from capture to answer. With one credit for ten minutes, with two
for one.
"""

from __future__ import annotations

from benchmarks.encoder.arithmetic import mean_between, percentile, slope
from benchmarks.encoder.orders import Camera, Streams, Tally
from benchmarks.encoder.plan import PREFIX, Plan, Story
from benchmarks.encoder.process_facts import MemoryRecord
from benchmarks.encoder.worker import Load
from benchmarks.services import service

OFFERED_OVER_SERVED = 2.0
INTERVALS = 2.0
SLOPE_BAR_MB_PER_MIN, RISE_BAR_MB = 1.0, 20.0


def staleness(plan: Plan) -> Story:
    """One credit, then two."""
    story = Story()
    for granted, minutes in ((1, plan.seconds(10, 0.4)), (2, plan.seconds(1, 0.2))):
        _one_camera(story, plan, granted, minutes)
    story.note(
        "staleness: an interval of the served rate is the time that one frame takes, so that no server with this "
        "capacity and one frame at a time can stay under 2 intervals of the offered rate: capture to answer is at "
        "least one interval of the served rate, which is 2 of the offered. The bar is on the served rate."
    )
    return story


def _one_camera(story: Story, plan: Plan, granted: int, minutes: float) -> None:
    settings = plan.settings(STREAM_CREDITS=str(granted))
    with service("encoder_svc", PREFIX, settings) as encoder, Load(encoder.address) as load:
        capacity = load.ask(Streams(1, plan.seconds(15, 4), 2.0, pictures="240p")).per_s()
        offered = OFFERED_OVER_SERVED * capacity
        with MemoryRecord(encoder.pid) as memory:
            tally = load.ask(Camera(offered, minutes * 60))
    _tell(story, granted, capacity, tally)
    if granted == 1:
        _tell_memory(story, memory, minutes)


def _tell(story: Story, granted: int, capacity: float, tally: Tally) -> None:
    name = f"staleness, {granted} credit{'s' * (granted > 1)}"
    encoded = tally.latencies_ms.get("OK", [])
    served_ms = INTERVALS * 1000 / capacity
    p99 = percentile(encoded, 0.99)
    story.add(f"{name}: one camera alone can have", capacity, "frames/s")
    story.add(f"{name}: offered", tally.offered / tally.seconds, "frames/s")
    story.add(f"{name}: served", tally.per_s(), "frames/s")
    # Two frames under way wait for each other: more frames a second, each of them older. The bar is for one.
    bar = f"under 2 frame intervals of the served rate: {served_ms:.1f}" if granted == 1 else ""
    story.add(f"{name}: p50", percentile(encoded, 0.5), "ms")
    story.add(f"{name}: p99", p99, "ms", bar, p99 < served_ms if granted == 1 else None)
    story.add(f"{name}: p99 in intervals of the served rate", p99 * capacity / 1000, "intervals")
    offered_rate = OFFERED_OVER_SERVED * capacity
    story.add(f"{name}: p99 in intervals of the offered rate", p99 * offered_rate / 1000, "intervals")
    rest = sum(tally.counts.values()) - len(encoded)
    story.add(f"{name}: frames sent and not encoded", rest, f"of {sum(tally.counts.values())}")


def _tell_memory(story: Story, memory: MemoryRecord, minutes: float) -> None:
    if minutes < 3:
        story.note("memory: too short a run to tell whether it is flat.")
        return
    settled = [(at, mb) for at, mb in zip(memory.minutes, memory.mb, strict=True) if at >= 1.0]
    rate = slope([at for at, _ in settled], [mb for _, mb in settled])
    name = f"memory of the service over {minutes:g} minutes of that camera"
    bar = f"under {SLOPE_BAR_MB_PER_MIN:g}"
    story.add(f"{name}: slope from minute 1", rate, "MB/min", bar, rate < SLOPE_BAR_MB_PER_MIN)
    end = memory.minutes[-1]
    rise_mb = mean_between(memory.minutes, memory.mb, end - 1, end + 1) - mean_between(memory.minutes, memory.mb, 1, 2)
    bar = f"under {RISE_BAR_MB:g}"
    story.add(f"{name}: last minute less the second one", rise_mb, "MB", bar, rise_mb < RISE_BAR_MB)
    story.add(f"{name}: at the end", memory.mb[-1], "MB")
