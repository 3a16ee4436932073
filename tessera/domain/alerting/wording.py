"""Why there is an alert, in words that name no person: those are looked up when somebody reads it."""

from __future__ import annotations

from tessera.domain.alerting.happenings import CameraHappened, Happening, Seen
from tessera.domain.alerting.rules import Rule, RuleKind
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.decision import Outcome


def seen_why(rule: Rule, happening: Happening) -> str:
    """What a rule saw in an event."""
    body = happening.body
    at = f" at {happening.camera_id}" if happening.camera_id else ""
    match rule.kind:
        case RuleKind.WATCHLIST:
            labels = sorted(set(rule.labels) & body.labels) if isinstance(body, Seen) else []
            listed = f" ({', '.join(labels)})" if labels else ""
            return f"somebody on the list{listed} was seen{at}"
        case RuleKind.UNKNOWN_PERSON:
            zones = sorted(set(rule.zones) & body.zones) if isinstance(body, Seen) else []
            lasted = f" for {duration_text(rule.dwell_s)}" if rule.dwell_s else ""
            where = f" in {', '.join(zones)}" if zones else ""
            return f"somebody who is not enrolled was seen{lasted}{where}{at}"
        case RuleKind.REIDENTIFIED:
            return f"the same person was seen by {rule.needed} cameras within {duration_text(rule.within_s)}"
        case RuleKind.FAILED_VERIFIES:
            return f"{rule.needed} claims failed within {duration_text(rule.within_s)}{at}"
        case _:
            return f"{body.kind if isinstance(body, CameraHappened) else rule.kind}{at}"


def dwelt_why(rule: Rule, camera_id: str) -> str:
    """Somebody has stayed."""
    return f"somebody who is not enrolled was seen for {duration_text(rule.dwell_s)} at {camera_id}"


def lost_why(rule: Rule, camera_id: str) -> str:
    """A camera is away."""
    return f"{camera_id} has been away for {duration_text(rule.away_s)}"


def back_why(kind: CameraEventKind) -> str:
    """A camera is no longer away."""
    return "the camera is back" if kind is CameraEventKind.ONLINE else "the camera's source has ended"


def clear_why(happening: Happening) -> str:
    """A scene is as it was."""
    body = happening.body
    is_thawed = isinstance(body, CameraHappened) and body.kind is CameraEventKind.ONLINE
    return "its pictures change again" if is_thawed else "the scene is clear again"


def revised_why(happening: Happening) -> str:
    """A decision is another one now."""
    body = happening.body
    now = {Outcome.MATCH: "somebody else", Outcome.UNKNOWN: "nobody who is enrolled"}
    told = now.get(body.outcome, "no longer decided") if isinstance(body, Seen) else "no longer so"
    return f"the decision was revised: {told}"


def duration_text(seconds: float) -> str:
    """`90 s`, `10 min`, `2 h`."""
    for unit_s, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= unit_s and seconds % unit_s == 0:
            return f"{seconds / unit_s:g} {unit}"
    return f"{seconds:g} s"
