"""What a single event must be for a rule to look at it: everything that can be told without remembering others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tessera.domain.alerting.happenings import CameraHappened, Happening, Seen, VerifyFailed
from tessera.domain.alerting.rules import Rule, RuleKind
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.decision import Outcome

_SEEN_KINDS = frozenset({RuleKind.WATCHLIST, RuleKind.UNKNOWN_PERSON, RuleKind.REIDENTIFIED})
_OUTCOMES = {
    RuleKind.WATCHLIST: frozenset({Outcome.MATCH}),
    RuleKind.UNKNOWN_PERSON: frozenset({Outcome.UNKNOWN}),
    RuleKind.REIDENTIFIED: frozenset({Outcome.MATCH, Outcome.UNKNOWN}),
}
LOST_KINDS = frozenset({CameraEventKind.LOST, CameraEventKind.ONLINE, CameraEventKind.ENDED})

Key = tuple[str, ...]
"""What decides which rules look at an event at all: the kind of event, the camera, and a little more."""

_REMEMBERED_KEYS = 4096


def key_of(happening: Happening) -> Key:
    """Events of the same key are looked at by the same rules."""
    body = happening.body
    if isinstance(body, Seen):
        return ("seen", happening.camera_id, body.collection_id, body.outcome)
    if isinstance(body, CameraHappened):
        return ("camera", happening.camera_id, body.kind)
    if isinstance(body, VerifyFailed):
        return ("verify", happening.camera_id, body.collection_id)
    return ("other",)


class CompiledRule:
    """A rule that answers quickly.

    Args:
        rule: what it asks for.
        place: in the rule set: rules are asked in order.
    """

    def __init__(self, rule: Rule, place: int) -> None:
        self.rule = rule
        self.place = place
        self._cameras = frozenset(rule.camera_ids)
        self._collections = frozenset(rule.collection_ids)
        self._labels = frozenset(rule.labels)
        self._subjects = frozenset(rule.subject_ids)
        self._zones = frozenset(rule.zones)
        table = rule.schedule.compiled() if rule.schedule is not None else None
        self.holds_at: Callable[[float], bool] | None = table.holds_at if table is not None else None

    def looks_at(self, happening: Happening) -> bool:
        """Whether events of this one's key may concern the rule."""
        if self._cameras and happening.camera_id not in self._cameras:
            return False
        body, kind = happening.body, self.rule.kind
        if isinstance(body, Seen):
            # Bodies are of everybody: only a rule that names their collection means them.
            is_meant = self._is_of(body.collection_id) and (bool(self._collections) or not body.is_body)
            return kind in _SEEN_KINDS and body.outcome in _OUTCOMES[kind] and is_meant
        if isinstance(body, VerifyFailed):
            return kind is RuleKind.FAILED_VERIFIES and self._is_of(body.collection_id)
        if isinstance(body, CameraHappened):
            kinds = LOST_KINDS if kind is RuleKind.CAMERA_LOST else frozenset(self.rule.scene_kinds)
            return kind in (RuleKind.CAMERA_LOST, RuleKind.SCENE) and (body.kind in kinds or self.is_over(happening))
        return False

    def is_over(self, happening: Happening) -> bool:
        """Whether an event says that what the rule may have told of a scene is over, and is nothing that it tells."""
        body, kinds = happening.body, self.rule.scene_kinds
        if self.rule.kind is not RuleKind.SCENE or not isinstance(body, CameraHappened) or body.kind in kinds:
            return False
        is_thawed = body.kind is CameraEventKind.ONLINE and CameraEventKind.FROZEN in kinds
        return is_thawed or body.kind is CameraEventKind.SCENE_CLEAR

    def takes(self, happening: Happening) -> bool:
        """Whether an event that it looks at is what it asks for; how long somebody stayed is not asked here."""
        body = happening.body
        if self.is_over(happening):
            return True
        if isinstance(body, Seen):
            fits = self._is_who(body.subject_id) and self._is_marked(body)
        elif isinstance(body, VerifyFailed):
            fits = self._is_who(body.subject_id)
        else:
            sure = body.probability if isinstance(body, CameraHappened) else None
            fits = sure is None or sure >= self.rule.min_probability
        # A camera that is away is judged at the moment at which it has been away for long enough.
        if not fits or self.holds_at is None or self.rule.kind is RuleKind.CAMERA_LOST:
            return fits
        return self.holds_at(happening.event_s)

    def _is_who(self, subject_id: str) -> bool:
        return not self._subjects or subject_id in self._subjects

    def _is_marked(self, body: Seen) -> bool:
        has_label = not self._labels or not self._labels.isdisjoint(body.labels)
        return has_label and (not self._zones or not self._zones.isdisjoint(body.zones))

    def _is_of(self, collection_id: str) -> bool:
        return not self._collections or collection_id in self._collections


class RuleIndex:
    """Finds the rules that look at an event: worked out once for each key.

    Args:
        rules: those that are not enabled look at nothing.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._compiled = [CompiledRule(rule, place) for place, rule in enumerate(rules) if rule.enabled]
        self.by_id = {compiled.rule.rule_id: compiled for compiled in self._compiled}
        self._found: dict[Key, tuple[CompiledRule, ...]] = {}

    def that_look_at(self, happening: Happening) -> tuple[CompiledRule, ...]:
        """Rules that may concern an event, in their order."""
        key = key_of(happening)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _REMEMBERED_KEYS:
                self._found.clear()
            found = self._found[key] = tuple(rule for rule in self._compiled if rule.looks_at(happening))
        return found
