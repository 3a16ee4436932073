"""How a webhook is signed: HMAC-SHA256 over its moment, a number used once, and every byte of its body.

The gateway signs with it and `tessera.client.webhooks` checks with it; `docs/notifications.md` says the same in words,
for receivers in other languages. It knows neither HTTP nor what a body means.

Source: RFC 2104 (HMAC); the three parts are joined as webhooks are usually signed, with a version in front.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

TIMESTAMP_HEADER = "Tessera-Timestamp"
NONCE_HEADER = "Tessera-Nonce"
SIGNATURE_HEADER = "Tessera-Signature"
KEY_HEADER = "Idempotency-Key"

SHORTEST_SECRET = 16
"""Characters: a shorter secret can be guessed from one message that was overheard."""

_VERSION = "v1"


def signature(secret: str, timestamp: str, nonce: str, body: bytes) -> str:
    """The signature of a message under one secret, as the header has it: `v1=` and 64 hexadecimal digits.

    Args:
        secret: what sender and receiver share.
        timestamp: when it was sent, in seconds since 1970 with three decimals.
        nonce: used once.
        body: as it is sent, byte by byte.
    """
    signed = f"{_VERSION}.{timestamp}.{nonce}.".encode() + body
    return f"{_VERSION}={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def is_signed(header: str, secrets: Iterable[str], timestamp: str, nonce: str, body: bytes) -> bool:
    """Whether one of the header's signatures, which commas part, is made with one of the secrets.

    Several on either side let a secret be changed without a message that is refused.
    """
    given = [part.strip().encode() for part in header.split(",")]
    is_known = False
    for secret in secrets:
        expected = signature(secret, timestamp, nonce, body).encode()
        for part in given:
            is_known |= hmac.compare_digest(part, expected)
    return is_known
