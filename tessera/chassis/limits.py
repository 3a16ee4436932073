"""What both ends of a connection must agree on."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""A request with three pictures at the limit of 20 MiB each."""

KEEPALIVE_MS = 20_000
"""A client that pings faster than the server allows is sent away (GOAWAY)."""

KEEPALIVE_TIMEOUT_MS = 10_000
