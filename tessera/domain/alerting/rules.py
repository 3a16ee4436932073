"""A rule: which events are worth an alert, when, how they are grouped, and how often it may be told.

A rule is data and is checked when it is made, so that whoever holds one holds a right one. What its fields mean for
each kind stands in `docs/alerts.md`; what follows from an event in `evaluator`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from tessera.domain.alerting.schedules import Schedule
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import checked_id

DAY_S = 86_400.0
MAX_NAMES = 256
"""Cameras, labels, zones and so on that one rule names of each."""
MAX_TEXT = 200

SCENE_KINDS = (
    CameraEventKind.FROZEN,
    CameraEventKind.COVERED,
    CameraEventKind.DEFOCUSED,
    CameraEventKind.MOVED,
    CameraEventKind.OBJECT_LEFT,
    CameraEventKind.OBJECT_REMOVED,
)
"""What SCENE takes where a rule names no kinds."""


class RuleKind(StrEnum):
    """What a rule looks for."""

    WATCHLIST = "WATCHLIST"
    """Somebody who is enrolled and matches its collections, labels or subjects is seen."""
    UNKNOWN_PERSON = "UNKNOWN_PERSON"
    """Somebody who is not enrolled is seen."""
    REIDENTIFIED = "REIDENTIFIED"
    """The same person is seen by `count` cameras within `window_s`."""
    SCENE = "SCENE"
    """The scene changed, or somebody tampered with the camera."""
    FAILED_VERIFIES = "FAILED_VERIFIES"
    """`count` claims to be the same subject, or at the same camera, fail within `window_s`."""
    CAMERA_LOST = "CAMERA_LOST"
    """A camera is away for `lasting_s`."""


class Severity(StrEnum):
    """How much an alert matters."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class Grouping(StrEnum):
    """What the events of one alert have in common beside the rule."""

    CAMERA = "CAMERA"
    SUBJECT = "SUBJECT"
    """The matched or claimed subject; the camera, where nobody is named."""
    LINK = "LINK"
    """The person, as sightings are linked; the subject, where one is matched; the camera, where nobody is linked."""


_KINDS_OF_FIELD: dict[str, frozenset[RuleKind]] = {
    "collection_ids": frozenset(
        {RuleKind.WATCHLIST, RuleKind.UNKNOWN_PERSON, RuleKind.REIDENTIFIED, RuleKind.FAILED_VERIFIES}
    ),
    "labels": frozenset({RuleKind.WATCHLIST, RuleKind.REIDENTIFIED}),
    "subject_ids": frozenset({RuleKind.WATCHLIST, RuleKind.REIDENTIFIED, RuleKind.FAILED_VERIFIES}),
    "zones": frozenset({RuleKind.WATCHLIST, RuleKind.UNKNOWN_PERSON, RuleKind.REIDENTIFIED}),
    "dwell_s": frozenset({RuleKind.UNKNOWN_PERSON}),
    "camera_event_kinds": frozenset({RuleKind.SCENE}),
    "min_probability": frozenset({RuleKind.SCENE}),
    "count": frozenset({RuleKind.REIDENTIFIED, RuleKind.FAILED_VERIFIES}),
    "window_s": frozenset({RuleKind.REIDENTIFIED, RuleKind.FAILED_VERIFIES}),
    "lasting_s": frozenset({RuleKind.CAMERA_LOST}),
}
"""Fields that only some kinds know."""

_USUAL_GROUPS: dict[RuleKind, tuple[Grouping, ...]] = {
    RuleKind.WATCHLIST: (Grouping.SUBJECT,),
    RuleKind.UNKNOWN_PERSON: (Grouping.LINK,),
    RuleKind.REIDENTIFIED: (Grouping.LINK,),
    RuleKind.SCENE: (Grouping.CAMERA,),
    RuleKind.FAILED_VERIFIES: (Grouping.SUBJECT,),
    RuleKind.CAMERA_LOST: (Grouping.CAMERA,),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    rule_id: str
    kind: RuleKind
    severity: Severity = Severity.WARNING
    display_name: str = ""
    """For people; empty: the id."""
    enabled: bool = True
    camera_ids: tuple[str, ...] = ()
    """Empty: all."""
    collection_ids: tuple[str, ...] = ()
    """Empty: all."""
    labels: tuple[str, ...] = ()
    """The subject has one of them; empty: whatever it has."""
    subject_ids: tuple[str, ...] = ()
    """Empty: all."""
    zones: tuple[str, ...] = ()
    """Seen in one of them; empty: anywhere."""
    dwell_s: float = 0.0
    """Seen for so long. 0 to 3600."""
    camera_event_kinds: tuple[CameraEventKind, ...] = ()
    """Empty: `SCENE_KINDS`."""
    min_probability: float = 0.0
    """In [0, 1]; an event that says none is taken as sure."""
    count: int = 0
    """Cameras, or failed claims. 2 to 100; 0: 2 cameras, 5 failed claims."""
    window_s: float = 0.0
    """1 s to a day; 0: 600."""
    lasting_s: float = 0.0
    """1 s to a day; 0: 30."""
    schedule: Schedule | None = None
    """None: always."""
    group_by: tuple[Grouping, ...] | None = None
    """None: what is usual for the kind. Empty: all events of the rule are one group."""
    cooldown_s: float = 300.0
    """An event that follows the last one of its group within this joins its alert. 0 to a day; 0: none joins."""
    remind_s: float = 900.0
    """While events go on joining an alert it is told again after so long. 60 s to a day; 0: never."""
    messages_per_hour: int = 12
    """So often may alerts of this rule be opened or told again within any hour. 1 to 1000."""
    time_to_live_s: float = 60.0
    """Nothing may be done because of an alert so long after its event. 1 s to a day."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidInputError: a field holds what it may not, or one that its kind does not know.
        """
        checked_id("rule_id", self.rule_id)
        _require(len(self.display_name) <= MAX_TEXT, "display_name", self.display_name, f"up to {MAX_TEXT} characters")
        for field in fields(self):
            kinds = _KINDS_OF_FIELD.get(field.name)
            known = kinds is None or self.kind in kinds or not getattr(self, field.name)
            _require(known, field.name, getattr(self, field.name), f"left out: {self.kind} does not know it")
        for name in ("camera_ids", "collection_ids", "subject_ids"):
            self._require_names(name, are_ids=True)
        for name in ("labels", "zones"):
            self._require_names(name, are_ids=False)
        if self.kind is RuleKind.WATCHLIST:
            named = self.collection_ids or self.labels or self.subject_ids
            _require(bool(named), "labels", "none", "labels, collection_ids or subject_ids: who is on the list")
        self._require_numbers()

    def _require_names(self, name: str, *, are_ids: bool) -> None:
        names = getattr(self, name)
        _require(len(names) <= MAX_NAMES, name, f"{len(names)} of them", f"at most {MAX_NAMES}")
        for each in names:
            if are_ids:
                checked_id(name, each)
            else:
                _require(0 < len(each) <= 64, name, each, "1 to 64 characters")

    def _require_numbers(self) -> None:
        for name, low, high, may_be_0 in (
            ("dwell_s", 0.0, 3600.0, True),
            ("window_s", 1.0, DAY_S, True),
            ("lasting_s", 1.0, DAY_S, True),
            ("cooldown_s", 0.0, DAY_S, True),
            ("remind_s", 60.0, DAY_S, True),
            ("time_to_live_s", 1.0, DAY_S, False),
        ):
            value = getattr(self, name)
            allowed = f"{low:g} to {high:g}" + (", or 0" if may_be_0 and low > 0 else "")
            _require(low <= value <= high or (may_be_0 and value == 0), name, value, allowed)
        _require(0.0 <= self.min_probability <= 1.0, "min_probability", self.min_probability, "0 to 1")
        _require(self.count == 0 or 2 <= self.count <= 100, "count", self.count, "2 to 100")
        _require(1 <= self.messages_per_hour <= 1000, "messages_per_hour", self.messages_per_hour, "1 to 1000")

    @property
    def groups(self) -> tuple[Grouping, ...]:
        """What the events of one alert have in common."""
        return _USUAL_GROUPS[self.kind] if self.group_by is None else self.group_by

    @property
    def needed(self) -> int:
        """Cameras, or failed claims."""
        return self.count or (2 if self.kind is RuleKind.REIDENTIFIED else 5)

    @property
    def within_s(self) -> float:
        """Of `needed`."""
        return self.window_s or 600.0

    @property
    def away_s(self) -> float:
        """How long a camera must be away."""
        return self.lasting_s or 30.0

    @property
    def scene_kinds(self) -> tuple[CameraEventKind, ...]:
        """What SCENE takes."""
        return self.camera_event_kinds or SCENE_KINDS

    @property
    def title(self) -> str:
        """For people."""
        return self.display_name or self.rule_id


def _require(condition: bool, field: str, value: object, allowed: str) -> None:
    if not condition:
        raise InvalidInputError(field, value, allowed)
