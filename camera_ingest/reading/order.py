"""What a reader is told: one source, how often to sample it, and how patient to be."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How long a source may take."""

    open_s: float = 8.0
    """To connect, and to learn what the stream holds."""
    read_s: float = 5.0
    """For the next packet."""


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """One attempt to read one source."""

    camera_id: str
    url: str = field(repr=False)
    """Checked by `parse_url`; with its credentials."""
    rate_hz: float
    """Pictures a second to hand over."""
    loop: bool = False
    limits: ReadLimits = ReadLimits()


def dump_order(order: ReadOrder) -> bytes:
    """An order as JSON. Holds credentials: it goes over a socket, never into a command line."""
    return json.dumps(asdict(order)).encode()


def load_order(text: bytes) -> ReadOrder:
    """Read what `dump_order` wrote."""
    values = json.loads(text)
    return ReadOrder(**{**values, "limits": ReadLimits(**values["limits"])})
