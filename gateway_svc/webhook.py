"""Signed webhooks: HTTP POST of a message as JSON, which its receiver can check without asking anybody."""

from __future__ import annotations

import json
import secrets
from urllib.parse import urlsplit

import aiohttp

from gateway_svc.delivering import DeliveryError, DeliveryRefusedError
from gateway_svc.messages import Message, payload
from gateway_svc.networks import Allowed, AllowedResolver
from gateway_svc.targets import Webhook
from tessera import __version__
from tessera.chassis.tracing import TRACEPARENT, current_span
from tessera.trust.webhook_signature import (
    KEY_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    signature,
)

_AGAIN = frozenset({401, 403, 404, 408, 409, 425, 429})
"""Beside 5xx: a receiver that is being set up, or set up wrongly, is not to lose what it is owed."""
_LONGEST_WAIT_S = 3600.0


class WebhookDeliverer:
    """Posts to one URL.

    Args:
        way: where to, and the secrets.
        allowed: which addresses that may be.
        timeout_s: for each attempt, from the connection to the answer's first line.
    """

    def __init__(self, way: Webhook, allowed: Allowed, timeout_s: float) -> None:
        self._way = way
        self._allowed = allowed
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def deliver(self, message: Message) -> None:
        """Post it; any 2xx means that it was taken.

        Raises:
            DeliveryRefusedError: a redirect, another 4xx, or an address that may not be used.
            DeliveryError: no connection, no answer in time, or an answer that asks for another attempt.
        """
        self._allowed.require_literal(urlsplit(self._way.url).hostname or "")
        body = json.dumps(payload(message), separators=(",", ":")).encode()
        try:
            # A redirect could point inside, and would be sent what was signed for somebody else.
            async with self._opened().post(
                self._way.url, data=body, headers=self._headers(message, body), allow_redirects=False
            ) as answer:
                status, retry_after = answer.status, answer.headers.get("Retry-After", "")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            if isinstance(error.__cause__, DeliveryRefusedError):
                raise error.__cause__ from None
            raise DeliveryError(f"no answer: {type(error).__name__}") from None
        except ValueError as error:
            raise DeliveryRefusedError(f"no URL to post to: {type(error).__name__}") from None
        if 200 <= status < 300:
            return
        if status in _AGAIN or status >= 500:
            raise DeliveryError(f"answered {status}", _seconds(retry_after))
        raise DeliveryRefusedError(f"answered {status}" + (", a redirect" if 300 <= status < 400 else ""))

    async def tell_state(self, message: Message) -> None:
        """Nothing: it shows no state."""

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=AllowedResolver(self._allowed), use_dns_cache=False),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session

    def _headers(self, message: Message, body: bytes) -> dict[str, str]:
        timestamp, nonce = f"{message.sent_at.timestamp():.3f}", secrets.token_hex(16)
        traceparent = current_span().traceparent()
        return {
            **({TRACEPARENT: traceparent} if traceparent is not None else {}),
            "Content-Type": "application/json",
            "User-Agent": f"tessera-gateway/{__version__}",
            KEY_HEADER: message.key,
            TIMESTAMP_HEADER: timestamp,
            NONCE_HEADER: nonce,
            SIGNATURE_HEADER: ",".join(signature(secret, timestamp, nonce, body) for secret in self._way.secrets),
        }


def _seconds(retry_after: str) -> float:
    """Of a Retry-After header; a date is not waited for."""
    return min(float(retry_after), _LONGEST_WAIT_S) if retry_after.isascii() and retry_after.isdigit() else 0.0
