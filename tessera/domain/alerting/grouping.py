"""Which events belong together, as digests: what an evaluation remembers names nobody."""

from __future__ import annotations

import hashlib

from tessera.domain.alerting.happenings import CameraHappened, Happening, Seen, VerifyFailed
from tessera.domain.alerting.rules import Grouping, Rule, RuleKind
from tessera.domain.camera_events import CameraEventKind

WHOLE_RULE = "all"
_OF_A_FREEZE = frozenset({CameraEventKind.FROZEN, CameraEventKind.ONLINE})
"""A freeze begins with the one and is over with the other, whatever becomes of the scene meanwhile."""


def alert_id_of(rule_id: str, group: str, event_id: str, at_s: float) -> str:
    """The id of the alert that an event opens: the same, whoever works it out and however often."""
    return f"alert-{digest(f'{rule_id}|{group}|{event_id}|{at_s!r}', 16)}"


def group_of(rule: Rule, happening: Happening) -> str:
    """The group of a rule that an event belongs to."""
    if not rule.groups:
        return WHOLE_RULE
    return digest("\n".join(_part(rule, grouping, happening) for grouping in rule.groups))


def person_of(happening: Happening) -> str:
    """Who was seen, as far as sightings can be told to be of one person; empty where they cannot."""
    body = happening.body
    if not isinstance(body, Seen):
        return ""
    return f"link {body.link_id}" if body.link_id else _subject(body)


def verdict_of(happening: Happening) -> str:
    """What is decided of a tracklet: two revisions of the same verdict say the same."""
    body = happening.body
    return digest(f"{body.outcome} {_subject(body)}") if isinstance(body, Seen) else ""


def digest(text: str, size_bytes: int = 8) -> str:
    """A text as hex digits that it cannot be read from."""
    return hashlib.blake2b(text.encode(), digest_size=size_bytes).hexdigest()


def _part(rule: Rule, grouping: Grouping, happening: Happening) -> str:
    body, found = happening.body, ""
    if grouping is Grouping.LINK:
        found = person_of(happening)
    if grouping is not Grouping.CAMERA and not found and isinstance(body, Seen | VerifyFailed):
        found = _subject(body)
    if rule.kind is RuleKind.SCENE and isinstance(body, CameraHappened) and body.kind in _OF_A_FREEZE:
        return f"frozen camera {happening.camera_id}"
    return found or f"camera {happening.camera_id}"


def _subject(body: Seen | VerifyFailed) -> str:
    return f"subject {body.collection_id}/{body.subject_id}" if body.subject_id else ""
