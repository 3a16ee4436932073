"""Ids that the gallery makes: sortable by the time of their making, or the same each time for the same thing."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from tessera.domain.ids import EventId, TrackletId


def time_ordered_id(kind: str, now: datetime) -> str:
    """`KIND-` with 12 hex digits of milliseconds and 12 of chance: ids of later moments sort behind earlier ones."""
    return f"{kind}-{int(now.timestamp() * 1000):012x}{secrets.token_hex(6)}"


def sighting_event_id(tracklet_id: TrackletId) -> EventId:
    """The id of the event that tells of a tracklet, however often and by whomever it is told."""
    return EventId(f"sighting-{hashlib.sha256(tracklet_id.encode()).hexdigest()[:32]}")
