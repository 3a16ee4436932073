"""Fields that a message may lack, as values or None."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tessera.client import wire
from tessera.domain.observation import Box, Quality


def time_of(message: Any, name: str) -> datetime | None:  # noqa: ANN401 - whichever message has the field
    """A moment in UTC."""
    return wire.time_from_wire(getattr(message, name)) if message.HasField(name) else None


def milliseconds_of(message: Any, name: str) -> float | None:  # noqa: ANN401 - whichever message has the field
    """A duration."""
    return wire.seconds_from_wire(getattr(message, name)) * 1e3 if message.HasField(name) else None


def quality_of(message: Any, name: str) -> Quality | None:  # noqa: ANN401 - whichever message has the field
    """The measures of a sample."""
    return wire.quality_from_wire(getattr(message, name)) if message.HasField(name) else None


def box_of(message: Any, name: str) -> Box | None:  # noqa: ANN401 - whichever message has the field
    """A rectangle."""
    return wire.box_from_wire(getattr(message, name)) if message.HasField(name) else None
