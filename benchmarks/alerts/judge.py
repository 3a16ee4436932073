"""The judgement by itself: a day against two hundred rules. The same alerts every time, and how fast."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.alerts.day import DAY_S, day_of, rules
from benchmarks.figures import Figure
from benchmarks.parts import Context
from tessera.domain.alerting.alerts import Alert, Decided, applied, opened
from tessera.domain.alerting.evaluator import Evaluator
from tessera.domain.alerting.happenings import Happening
from tessera.domain.alerting.rules import Rule
from tessera.domain.alerting.state import EvaluatorState

SEED = 7


@dataclass(slots=True)
class Outcome:
    """What came of a replay."""

    alerts: dict[str, Alert] = field(default_factory=dict)
    messages: list[tuple[str, str]] = field(default_factory=list)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    checkpoint_bytes: int = 0
    remembered: int = 0
    """Entries at the end."""

    def follow(self, decided: Sequence[Decided]) -> None:
        """Take what was decided."""
        for each in decided:
            known = self.alerts.get(each.alert_id)
            self.alerts[each.alert_id] = opened(each, 1) if known is None else applied(known, each)
            if each.is_told:
                self.messages.append((each.alert_id, each.change))

    @property
    def digest(self) -> str:
        """Of every alert as it stands and of every message, in order."""
        told = [asdict(alert) for alert in self.alerts.values()]
        return hashlib.sha256(json.dumps([told, self.messages]).encode()).hexdigest()[:16]


def replay(happenings: Sequence[Happening], wanted: Sequence[Rule], chunk: int, restarts: frozenset[int]) -> Outcome:
    """Judge events in chunks, with a checkpoint behind each.

    Args:
        happenings: in the order of their recording.
        wanted: the rules.
        chunk: so many events between two checkpoints.
        restarts: chunks behind which everything but the checkpoints is lost.
    """
    outcome, evaluator, state, kept = Outcome(), Evaluator(wanted), EvaluatorState(), dict[str, str]()
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    for number, first in enumerate(range(0, len(happenings), chunk)):
        for happening in happenings[first : first + chunk]:
            outcome.follow(evaluator.advance(state, happening))
        changes = state.changes()
        outcome.checkpoint_bytes += sum(len(key) + len(text) for key, text in changes.items())
        if restarts:
            kept |= changes
        if number in restarts:
            evaluator = Evaluator(wanted)
            state = EvaluatorState.load({key: text for key, text in kept.items() if text})
    outcome.cpu_s, outcome.wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    outcome.remembered = len(state)
    return outcome


def run(context: Context) -> list[Figure]:
    """Replay the day four times: twice the same way, in other pieces, and with restarts."""
    happenings, wanted = day_of(SEED, context.count(50_000, 2000)), rules()
    chunks = len(happenings) // 256
    chance = random.Random(SEED)
    restarts = frozenset(chance.sample(range(chunks), min(20, chunks)))
    runs = [
        replay(happenings, wanted, 256, frozenset()),
        replay(happenings, wanted, 256, frozenset()),
        replay(happenings, wanted, 37, frozenset()),
        replay(happenings, wanted, 256, restarts),
    ]
    first = runs[0]
    digests = [outcome.digest for outcome in runs]
    is_same = len(set(digests)) == 1
    events_per_s = min(len(happenings) / outcome.cpu_s for outcome in runs[:3])
    faster = DAY_S / max(outcome.wall_s for outcome in runs)
    figure = context.figure
    return [
        figure("a recorded day (generated): event revisions", len(happenings), "events"),
        figure("rules", len(wanted), "rules"),
        figure("alerts of the day", len(first.alerts), "alerts"),
        figure("messages of the day", len(first.messages), "messages"),
        figure(
            "the same alerts and messages: two runs, chunks of 37, 20 restarts from the checkpoint",
            "the same" if is_same else " ".join(digests),
            "digest",
            "the same every time",
            holds=is_same,
        ),
        figure("replay of the day, slowest of four", faster, "x real time", "60x or faster", holds=faster >= 60),
        figure(
            f"events judged a second of one core against {len(wanted)} rules, checkpoints made, slowest of three",
            events_per_s,
            "events/s of CPU time",
            "2,000 events/s on one core",
            holds=events_per_s >= 2000,
        ),
        figure("checkpoint for each event", first.checkpoint_bytes / len(happenings), "bytes"),
        figure("remembered at the end of the day", first.remembered, "entries"),
    ]
