"""Best shots behind links that end: who has the link sees the one picture, until a moment that nobody can put off."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import quote, urlencode

from tessera.chassis.settings import Secret

PATH = "/shots/"


@dataclass(frozen=True, slots=True)
class ShotLink:
    """Where a picture can be seen, and until when."""

    url: str
    expires_at: datetime


class ShotSource(Protocol):
    """Where pictures are kept."""

    async def shot(self, shot_id: str) -> bytes | None:
        """A JPEG; None: it was never kept, is too old, or was erased.

        Raises:
            UnavailableError: nobody can say.
        """
        ...


class SignedLinks:
    """Makes links, and knows its own.

    Args:
        public_url: what the gateway is reached by from outside, such as `https://tessera.example`.
        key: what links are signed with; the same on every gateway.
        lives_s: from the making of a link to its end.
    """

    def __init__(self, public_url: str, key: Secret, lives_s: float) -> None:
        self._public_url = public_url.rstrip("/")
        self._key = key
        self._lives_s = lives_s

    def link(self, shot_id: str, now: datetime) -> ShotLink:
        """A link to one picture, from now on."""
        ends_s = int((now + timedelta(seconds=self._lives_s)).timestamp())
        query = urlencode({"expires": ends_s, "signature": self._signature(shot_id, str(ends_s))})
        url = f"{self._public_url}{PATH}{quote(shot_id, safe='')}?{query}"
        return ShotLink(url, datetime.fromtimestamp(ends_s, UTC))

    def is_valid(self, shot_id: str, expires: str, signature: str, now: datetime) -> bool:
        """Whether a link is one of ours and has not ended."""
        is_ours = hmac.compare_digest(signature.encode(), self._signature(shot_id, expires).encode())
        return is_ours and now.timestamp() < int(expires)

    def _signature(self, shot_id: str, expires: str) -> str:
        signed = f"shot.{expires}.{shot_id}".encode()
        return hmac.new(self._key.encode(), signed, hashlib.sha256).hexdigest()
