"""What a reader is told: one source, how to read it, how patient to be, and where it may go."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from camera_ingest.sources.access import AccessRules
from camera_ingest.sources.options import StreamOptions, Transport
from camera_ingest.sources.source import ReadLimits


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """One attempt to read one source."""

    camera_id: str
    url: str = field(repr=False)
    """Checked by `parse_url`; with its credentials."""
    rate_hz: float
    """Pictures a second to hand over."""
    loop: bool = False
    limits: ReadLimits = field(default_factory=ReadLimits)
    stream: StreamOptions = field(default_factory=StreamOptions)
    access: AccessRules = field(default_factory=AccessRules)


def dump_order(order: ReadOrder) -> bytes:
    """An order as JSON. Holds credentials: it goes over a socket, never into a command line."""
    return json.dumps(asdict(order)).encode()


def load_order(text: bytes) -> ReadOrder:
    """Read what `dump_order` wrote."""
    values = json.loads(text)
    stream, access = values.pop("stream"), values.pop("access")
    return ReadOrder(
        **{name: value for name, value in values.items() if name != "limits"},
        limits=ReadLimits(**values["limits"]),
        stream=StreamOptions(**{**stream, "transport": Transport(stream["transport"])}),
        access=AccessRules(
            schemes=tuple(access["schemes"]),
            networks=tuple(access["networks"]),
            folders=tuple(access["folders"]),
            tls_verify=access["tls_verify"],
            tls_ca_file=access["tls_ca_file"],
        ),
    )
