"""The judgement as a gallery runs it: events out of a Valkey, alerts and checkpoints into it, on disk before they hold.

First the log is full and is worked off: how fast, at what cost in this process and in the store's; half-way another
gallery takes over. Then events come one by one: how long until a watcher hears of the alert.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import uvloop

from benchmarks.alerts.day import BEGAN_S, day_of, rules
from benchmarks.alerts.gallery_log import GalleryLog, gallery_log, recorded
from benchmarks.alerts.judge import SEED, replay
from benchmarks.figures import Figure
from benchmarks.parts import Context
from gallery_svc.events import Told, WatchFilter
from gallery_svc.store.event_records import EventRecord
from tessera.chassis.clock import ManualClock, SystemClock
from tessera.domain.alerting.alerts import Alert
from tessera.domain.alerting.happenings import Happening, Seen
from tessera.domain.alerting.rules import Rule, RuleKind
from tessera.domain.decision import Outcome

_SECOND_GALLERY_AFTER_S = 6.0


def run(context: Context) -> list[Figure]:
    """Both."""
    return uvloop.run(_run(context))


async def _run(context: Context) -> list[Figure]:
    return [*await _work_off(context), *await _live(context)]


async def _work_off(context: Context) -> list[Figure]:
    happenings, wanted = day_of(SEED, context.count(4000, 500)), rules()
    expected = replay(happenings, wanted, 256, frozenset())
    clock = ManualClock(datetime.fromtimestamp(BEGAN_S, UTC))
    async with gallery_log(clock) as log:
        await log.put(wanted)
        await log.fill(happenings)
        clock.advance(happenings[-1].recorded_s - BEGAN_S)
        store_cpu_s, cpu_s, wall_s = log.server.cpu_s(), time.process_time(), time.perf_counter()
        await _two_galleries(log, clock, len(happenings) // 512)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        store_cpu_s = log.server.cpu_s() - store_cpu_s
        alerts, messages = await log.alerts(), await log.messages()
    made = [(record.event.event_id, record.revision, _change(record)) for record in messages]
    is_same = set(made) == _numbered(expected.messages) and len(alerts) == len(expected.alerts)
    per_cpu_s, count = len(happenings) / cpu_s, len(happenings)
    figure = context.figure
    return [
        figure(f"whole path: {count} events of the day, {len(wanted)} rules, alerts", len(alerts), "alerts"),
        figure(
            "whole path: a second gallery takes over half-way: alerts and messages, beside the judgement alone",
            "the same" if is_same else "others",
            "",
            "the same",
            holds=is_same,
        ),
        figure("whole path: events worked off a second, fsync always", count / wall_s, "events/s"),
        figure(
            "whole path: the same for a second of this process's CPU time",
            per_cpu_s,
            "events/s of CPU time",
            "2,000 events/s on one core",
            holds=per_cpu_s >= 2000,
        ),
        figure("whole path: the store's CPU time for an event", 1e6 * store_cpu_s / count, "us"),
    ]


def _change(record: EventRecord) -> str:
    return str(record.event.body.change) if isinstance(record.event.body, Alert) else ""


def _numbered(messages: Sequence[tuple[str, str]]) -> set[tuple[str, int, str]]:
    """Each message with its number among those of its alert: between alerts, the log's order says nothing."""
    seen: Counter[str] = Counter()
    numbered = set()
    for alert_id, change in messages:
        seen[alert_id] += 1
        numbered.add((alert_id, seen[alert_id], str(change)))
    return numbered


async def _two_galleries(log: GalleryLog, clock: ManualClock, steps: int) -> None:
    """One judges for some steps and is gone; the other one goes on once the lease has ended."""
    first, _ = log.alerting("gallery-1")
    for _ in range(steps):
        await first.step()
    await log.store.drop_lease("alerting", "gallery-1")  # the store's clock is not ours to move
    second, _ = log.alerting("gallery-2")
    while await second.step():
        pass
    clock.advance(_SECOND_GALLERY_AFTER_S)
    await first.step()


async def _live(context: Context) -> list[Figure]:
    """An event after the other, each of a person whom nobody knows and who is one alert: recorded to told."""
    count = context.count(200, 20)
    rule = Rule("each", RuleKind.UNKNOWN_PERSON, cooldown_s=0.0, messages_per_hour=1000)
    clock = SystemClock()
    async with gallery_log(clock) as log:
        await log.put([rule, *(each for each in rules() if each.kind is not RuleKind.UNKNOWN_PERSON)])
        alerting, events = log.alerting()
        judging = asyncio.create_task(alerting.run())
        waits_ms = []
        watch = events.watch("", WatchFilter(sightings=False))
        await anext(watch)
        for number in range(count):
            at = clock.now()
            body = Seen("default", Outcome.UNKNOWN, link_id=f"p{number}")
            then_s = at.timestamp()
            happening = Happening(f"live{number}", 1, "gate", then_s, then_s, then_s + 5, body)
            started_s = time.perf_counter()
            await events.record(recorded(happening), None)
            async with asyncio.timeout(30):
                while not isinstance(await anext(watch), Told):
                    pass
            waits_ms.append(1000 * (time.perf_counter() - started_s))
        await watch.aclose()
        alerting.stop()
        await judging
    p50, p99 = np.percentile(waits_ms, [50, 99])
    return [
        context.figure("event handed to the log until a watcher has its alert, p50", float(p50), "ms"),
        context.figure("the same, p99", float(p99), "ms"),
    ]
