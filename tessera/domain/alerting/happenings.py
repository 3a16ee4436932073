"""What rules judge: events as they were recorded, without what no rule asks for. Times are seconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass

from tessera.domain.camera_events import CameraEventKind
from tessera.domain.decision import Outcome


@dataclass(frozen=True, slots=True)
class Seen:
    """Somebody was seen: one tracklet and what is decided of it by now."""

    collection_id: str
    outcome: Outcome
    """MATCH, UNKNOWN or INCONCLUSIVE."""
    subject_id: str = ""
    """The matched subject; empty otherwise."""
    labels: frozenset[str] = frozenset()
    """Of the subject, when the decision was recorded."""
    zones: frozenset[str] = frozenset()
    link_id: str = ""
    """The same for sightings that were linked as one person; empty: none was."""
    lasted_s: float = 0.0
    """From the first frame to the last one so far."""
    ended: bool = False
    best_shot_id: str = ""
    is_body: bool = False
    """A body and no face: of everybody who passes, and UNKNOWN as a rule."""


@dataclass(frozen=True, slots=True)
class CameraHappened:
    """A camera worker saw something happen to its camera."""

    kind: CameraEventKind
    probability: float | None = None
    """How sure, in [0, 1], for scene changes."""


@dataclass(frozen=True, slots=True)
class VerifyFailed:
    """A claim to be somebody was not confirmed."""

    collection_id: str
    subject_id: str
    """Who it was claimed to be."""


@dataclass(frozen=True, slots=True)
class AlertSettled:
    """A person resolved an alert; the event's id is the alert's."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One revision of one event."""

    event_id: str
    revision: int
    """Of the event, from 1."""
    camera_id: str
    """Empty: no camera's."""
    event_s: float
    """When it happened."""
    recorded_s: float
    """When it was recorded, by the clock of whoever keeps the log."""
    valid_until_s: float
    """Nothing may be done because of it after this moment."""
    body: Seen | CameraHappened | VerifyFailed | AlertSettled

    @property
    def is_late(self) -> bool:
        """It was recorded when it was already too late to act on it."""
        return self.valid_until_s < self.recorded_s
