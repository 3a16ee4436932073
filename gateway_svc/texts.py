"""A message as people read it: one subject for all of an incident, so that mail and chat keep it together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway_svc.happenings import Happening, Kind
from gateway_svc.messages import Message, stamp

_LONGEST_ID = 24


def title(message: Message) -> str:
    """The same for each revision of an incident, but for the marks of what is no news."""
    happening = message.happening
    if happening.kind in {Kind.TEST, Kind.HELD_BACK}:
        what = "a test" if happening.kind is Kind.TEST else "notifications were held back"
        return f"{message.marks}Tessera: {what}"
    if happening.kind is not Kind.ALERT:
        return f"{message.marks}Tessera: {happening.kind.lower()} at {happening.camera_id}"
    told = happening.facts
    name = str(told.get("title") or told.get("rule_id") or "alert")
    where = f" at {happening.camera_id}" if happening.camera_id else ""
    return f"{message.marks}Tessera: {name}{where} [{happening.incident[:_LONGEST_ID]}]"


def body(message: Message) -> str:
    """What happened, line by line."""
    happening = message.happening
    lines = [happening.summary, *_alert_lines(happening)]
    lines.append(f"At {stamp(happening.event_time)}")
    if message.shot is not None:
        lines.append(f"Picture, until {stamp(message.shot.expires_at)}: {message.shot.url}")
    if message.late:
        lines.append(f"This is late: it held until {stamp(happening.valid_until)}. Do nothing because of it.")
    if message.replayed:
        lines.append("Somebody sent this again. It is no news.")
    if message.held_back and happening.kind is not Kind.HELD_BACK:
        noun = "notification was" if message.held_back == 1 else "notifications were"
        lines.append(f"{message.held_back} other {noun} held back before this one.")
    return "\n".join(lines)


def _alert_lines(happening: Happening) -> list[str]:
    if happening.kind is not Kind.ALERT:
        return []
    told: Mapping[str, Any] = happening.facts
    names = [str(one.get("display_name") or one.get("subject_id")) for one in told.get("subjects") or ()]
    lines = [f"{told.get('severity', '')}, {str(told.get('state', '')).lower()}"]
    if names:
        lines.append("Who: " + ", ".join(names))
    if told.get("actor"):
        comment = f": {told['comment']}" if told.get("comment") else ""
        lines.append(f"By {told['actor']}{comment}")
    if told.get("suppressed_events"):
        lines.append(f"Stands for {told['suppressed_events']} more events.")
    return lines
