"""One tracklet: its samples joined into one probe, and an answer that grows with it and does not flap.

The rule of the answer. Before there are enough usable samples it is INCONCLUSIVE (TOO_FEW_FRAMES). The first MATCH or
UNKNOWN stands at once. After that another answer takes its place only when it wins twice in a row, inconclusive
evaluations aside: one blurred frame does not turn a person into another. An INCONCLUSIVE never takes the place of a
MATCH or an UNKNOWN.

The state is a value: an update makes a new one, which is kept only after what follows from it is on record.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from gallery_svc.linking import Link
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.store.event_records import PersonOfSighting
from tessera.chassis.clock import Clock
from tessera.client.stream_values import TrackletSample, TrackletUpdate
from tessera.domain.decision import Decision, Outcome
from tessera.domain.embedding import Embedding
from tessera.domain.fusion import FrameFusion, join_frames
from tessera.domain.ids import EventId, SubjectId, TrackletId
from tessera.domain.reasons import Reason

KEPT_SAMPLES = 16
"""The best of a tracklet; more add little to their mean and cost memory."""
WINS_TO_CHANGE = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer without its circumstances: two updates that come to the same verdict say the same."""

    outcome: Outcome
    subject_id: SubjectId | None = None
    """The matched subject."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is told of a tracklet by now."""

    verdict: Verdict
    decision: Decision
    revision: int
    """Grows when the verdict changes, from 1."""
    challenger: Verdict | None = None
    """Another verdict that won the last time."""
    wins: int = 0
    """How often in a row it did."""


def next_standing(before: Standing | None, verdict: Verdict, decision: Decision) -> Standing:
    """What is told after one more evaluation came to `verdict`.

    Args:
        before: what was told; None at first.
        verdict: of this evaluation.
        decision: what the verdict rests on.
    """
    if before is None:
        return Standing(verdict, decision, 1)
    if verdict == before.verdict:
        return Standing(verdict, decision, before.revision)
    if before.verdict.outcome is Outcome.INCONCLUSIVE:
        return Standing(verdict, decision, before.revision + 1)
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return before
    wins = before.wins + 1 if verdict == before.challenger else 1
    if wins >= WINS_TO_CHANGE:
        return Standing(verdict, decision, before.revision + 1)
    return replace(before, challenger=verdict, wins=wins)


@dataclass(frozen=True, slots=True, eq=False)
class TrackletState:
    """One tracklet as far as it is known."""

    samples: tuple[TrackletSample, ...] = ()
    """The best so far, best first."""
    usable_samples: int = 0
    """All that could be used, also those that are no longer kept."""
    newest_capture: datetime | None = None
    sequence: int = 0
    """Of the last update that was taken."""
    standing: Standing | None = None
    event_id: EventId | None = None
    """The event that told the world; None while nothing was published."""
    ended: bool = False
    told_zones: tuple[str, ...] = ()
    """The zones that the event named."""
    link: Link | None = None
    """Of an unknown person: who else it is."""
    person: PersonOfSighting | None = None
    """Of a body: who it is taken for."""

    def with_samples(self, update: TrackletUpdate) -> TrackletState:
        """The state with an update's samples, before anything is decided."""
        best = sorted((*self.samples, *update.samples), key=lambda s: -s.quality.overall)[:KEPT_SAMPLES]
        captures = [sample.capture_time for sample in update.samples]
        newest = max([*captures, *([self.newest_capture] if self.newest_capture else [])], default=None)
        return replace(
            self,
            samples=tuple(best),
            usable_samples=self.usable_samples + len(update.samples),
            newest_capture=newest,
            sequence=update.sequence,
        )

    def probe(self) -> Embedding:
        """The samples' embeddings as one, each weighed by its quality (`tessera.domain.fusion`).

        Raises:
            InvalidInputError: there are no samples, or a measure of one is outside [0, 1].
        """
        return join_frames(
            [sample.embedding for sample in self.samples],
            [sample.quality for sample in self.samples],
            FrameFusion.QUALITY_WEIGHTED_MEAN,
        )

    def weaknesses(self) -> tuple[Reason, ...]:
        """What is weak about the probe: nothing when at least one sample is good enough to enrol."""
        if any(not sample.quality.reasons for sample in self.samples):
            return ()
        return self.samples[0].quality.reasons if self.samples else ()


class Tracklets:
    """The tracklets that are remembered: at most so many, and each for so long.

    Args:
        limit: the one that was silent longest is forgotten for the next.
        idle_s: one that is silent for so long is forgotten.
        clock: for the age.
        metrics: where it counts.
    """

    def __init__(self, limit: int, idle_s: float, clock: Clock, metrics: GalleryMetrics) -> None:
        self._limit = limit
        self._idle_s = idle_s
        self._clock = clock
        self._metrics = metrics
        self._states: OrderedDict[TrackletId, tuple[float, TrackletState]] = OrderedDict()

    def find(self, tracklet_id: TrackletId) -> TrackletState | None:
        """A tracklet's state; None when it is new or was forgotten."""
        self._forget_silent()
        held = self._states.get(tracklet_id)
        return held[1] if held is not None else None

    def keep(self, tracklet_id: TrackletId, state: TrackletState) -> None:
        """Remember a state."""
        self._states[tracklet_id] = (self._clock.monotonic_s(), state)
        self._states.move_to_end(tracklet_id)
        while len(self._states) > self._limit:
            self._states.popitem(last=False)
            self._metrics.tracklets_forgotten.labels("full").inc()
        self._metrics.tracklets.set(len(self._states))

    def _forget_silent(self) -> None:
        for tracklet_id in list(self._silent()):
            _, state = self._states.pop(tracklet_id)
            # One that ended is kept for a while, so that a repeated last update still gets its answer.
            if not state.ended:
                self._metrics.tracklets_forgotten.labels("silent").inc()
        self._metrics.tracklets.set(len(self._states))

    def _silent(self) -> Iterator[TrackletId]:
        latest_s = self._clock.monotonic_s() - self._idle_s
        for tracklet_id, (kept_s, _) in self._states.items():
            if kept_s > latest_s:
                return
            yield tracklet_id
