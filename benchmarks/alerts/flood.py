"""Ten thousand sightings of one unknown person in an hour, through the gallery's log: what the rule promises holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks.alerts.day import BEGAN_S
from benchmarks.alerts.gallery_log import gallery_log
from benchmarks.figures import Figure
from benchmarks.parts import Context
from tessera.chassis.clock import ManualClock
from tessera.domain.alerting.happenings import Happening, Seen
from tessera.domain.alerting.rules import Grouping, Rule, RuleKind
from tessera.domain.decision import Outcome

HOUR_S = 3600.0

RULES: Sequence[tuple[str, Rule]] = (
    ("as it is usual", Rule("usual", RuleKind.UNKNOWN_PERSON)),
    ("told again each minute", Rule("eager", RuleKind.UNKNOWN_PERSON, remind_s=60.0, messages_per_hour=10)),
    (
        "an alert for each sighting",
        Rule("each", RuleKind.UNKNOWN_PERSON, cooldown_s=0.0, group_by=(Grouping.CAMERA,), messages_per_hour=4),
    ),
)


def sightings(count: int) -> list[Happening]:
    """One person whom nobody knows, again and again for an hour; each time a tracklet of its own."""
    return [_sighting(number, BEGAN_S + 1 + number * (HOUR_S - 2) / count) for number in range(count)]


def _sighting(number: int, at_s: float) -> Happening:
    then_s = round(at_s, 3)
    body = Seen("default", Outcome.UNKNOWN, link_id="one")
    return Happening(f"t{number}", 1, "gate", then_s, round(then_s + 0.2, 3), then_s + 5, body)


def run(context: Context) -> list[Figure]:
    """Record them, judge them, and count what the log has of alerts."""
    return asyncio.run(_run(context))


async def _run(context: Context) -> list[Figure]:
    count = context.count(10_000, 500)
    clock = ManualClock(datetime.fromtimestamp(BEGAN_S, UTC))
    figures = []
    async with gallery_log(clock, "everysec") as log:
        await log.put(rule for _, rule in RULES)
        await log.fill(sightings(count))
        clock.advance(HOUR_S)
        alerting, _ = log.alerting()
        while await alerting.step():
            pass
        messages, alerts = await log.messages(), await log.alerts()
    for name, rule in RULES:
        told = [each for each in messages if getattr(each.event.body, "rule_id", "") == rule.rule_id]
        mine = [alert for alert in alerts if alert.rule_id == rule.rule_id]
        stands_for = sum(len(alert.sources) + alert.suppressed_events for alert in mine)
        promise = rule.messages_per_hour
        figures += [
            context.figure(
                f"{count} sightings of one unknown in an hour, {name}: messages",
                len(told),
                "messages",
                f"at most the {promise} that the rule promises",
                holds=len(told) <= promise,
            ),
            context.figure(
                f"the same, {name}: sightings that its {len(mine)} alerts stand for",
                stands_for,
                "sightings",
                "all of them",
                holds=stands_for == count,
            ),
        ]
    return figures
