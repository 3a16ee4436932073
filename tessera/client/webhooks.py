"""For those who receive webhooks: is this one genuine, whole, of now, and here for the first time; may it be acted on?

    receiver = WebhookReceiver(secret)
    with receiver.receive(headers, body) as told:
        if told.may_act: ...

It opens no socket: any web server can call it. A message is remembered as handled when the block ends without an
exception, so that what a receiver failed at is handled when it comes again.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from tessera.chassis.clock import Clock, SystemClock
from tessera.domain.errors import InvalidInputError
from tessera.trust.webhook_signature import (
    NONCE_HEADER,
    SHORTEST_SECRET,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    is_signed,
)

_HEADERS = (TIMESTAMP_HEADER, NONCE_HEADER, SIGNATURE_HEADER)
_LONGEST_NONCE = 128
_REMEMBERED = 100_000


class Rejection(StrEnum):
    """Why a message must not be believed, or not be acted on."""

    UNSIGNED = "UNSIGNED"
    """A header is missing."""
    ALTERED = "ALTERED"
    """The signature does not fit: another secret, or a changed timestamp, nonce or body."""
    STALE = "STALE"
    """It was sent too long ago, or before this receiver began to remember what it has seen; or the clocks differ."""
    REPLAYED = "REPLAYED"
    """This very message was here before."""
    LATE = "LATE"
    """What it tells no longer holds, or a person sent it again."""
    MALFORMED = "MALFORMED"
    """It is signed and yet no notification: of a later version, perhaps."""
    BUSY = "BUSY"
    """An earlier attempt of the same notification is being handled."""


_STATUS = {
    Rejection.UNSIGNED: 401,
    Rejection.ALTERED: 401,
    Rejection.STALE: 409,
    Rejection.REPLAYED: 409,
    Rejection.LATE: 410,
    Rejection.MALFORMED: 400,
    Rejection.BUSY: 409,
}


class WebhookRejected(Exception):  # noqa: N818 - it is read where it is caught
    """Do nothing because of this message, and answer with `status`.

    Args:
        reason: why.
        detail: what was found, without what a forger could use.
    """

    def __init__(self, reason: Rejection, detail: str) -> None:
        self.reason = reason
        self.status = _STATUS[reason]
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True, slots=True)
class WebhookNotification:
    """A message that is genuine; docs/notifications.md tells what each field means."""

    key: str
    """The deduplication key: the same for every attempt."""
    thread: str
    """The same for everything about one incident."""
    kind: str
    """ALERT, SIGHTING, CAMERA, HELD_BACK or TEST."""
    summary: str
    event_id: str
    revision: int
    camera_id: str
    event_time: datetime
    valid_until: datetime
    """Nothing may be done because of it after this moment."""
    late: bool
    replayed: bool
    """A person sent it again."""
    test: bool
    held_back: int
    """So many others were held back before this one."""
    duplicate: bool
    """It was handled before: do nothing, and answer as if all were well."""
    may_act: bool
    """It calls for something, is here for the first time, and still holds: a door may open. What became of an alert,
    such as that somebody acknowledged it, is no call."""
    content: Mapping[str, Any]
    """All of the message."""

    @property
    def alert(self) -> Mapping[str, Any]:
        """The alert; empty for other kinds."""
        return dict(self.content.get("alert") or {})


class Nonces(Protocol):
    """What was seen, as far as it is remembered; share it between the processes of one receiver."""

    since: datetime
    """Nothing is known of what came before."""

    def is_first(self, nonce: str, now: datetime, forget_after_s: float) -> bool:
        """Remember a nonce; whether it is new."""
        ...


class MemoryNonces:
    """Nonces for as long as the process lives.

    Args:
        since: when it began to remember: what was sent earlier may have been here before.
    """

    def __init__(self, since: datetime) -> None:
        self.since = since
        self._seen: OrderedDict[str, float] = OrderedDict()

    def is_first(self, nonce: str, now: datetime, forget_after_s: float) -> bool:
        """Remember a nonce; whether it is new."""
        at_s = now.timestamp()
        while self._seen and next(iter(self._seen.values())) < at_s - forget_after_s:
            self._seen.popitem(last=False)
        if nonce in self._seen:
            return False
        self._seen[nonce] = at_s
        return True


class WebhookReceiver:
    """Checks messages; may be used from several threads at once.

    Args:
        secrets: what the sender signs with; several while it is being changed.
        window_s: how far the sender's timestamp may be from this machine's clock.
        accept_late: hand over what no longer holds and what a person sent again, too; `may_act` is false for both.
        nonces: what was seen; None: this process remembers.
        clock: for the time.

    Raises:
        InvalidInputError: no secret, or one that is too short to be one.
    """

    def __init__(
        self,
        *secrets: str,
        window_s: float = 60.0,
        accept_late: bool = False,
        nonces: Nonces | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not secrets or any(len(secret) < SHORTEST_SECRET for secret in secrets):
            raise InvalidInputError("secrets", "(hidden)", f"one or more, each of {SHORTEST_SECRET} characters or more")
        self._secrets = secrets
        self._window_s = window_s
        self._accept_late = accept_late
        self._clock = clock or SystemClock()
        self._nonces = nonces or MemoryNonces(self._clock.now())
        self._lock = threading.Lock()
        self._handled: OrderedDict[str, None] = OrderedDict()
        self._under_way: set[str] = set()

    @contextmanager
    def receive(self, headers: Mapping[str, str], body: bytes) -> Iterator[WebhookNotification]:
        """The notification of one request, for the length of a `with` block.

        Args:
            headers: of the request; their names in any case.
            body: as it came, byte by byte: not parsed and written anew.

        Raises:
            WebhookRejected: do nothing because of it.
        """
        content = self._content(headers, body)
        with self._lock:
            key = str(content["key"])
            if key in self._under_way:
                raise WebhookRejected(Rejection.BUSY, "an earlier attempt is being handled")
            duplicate = key in self._handled
            self._under_way.add(key)
        try:
            yield self._notification(content, duplicate=duplicate)
            with self._lock:
                self._handled[key] = None
                if len(self._handled) > _REMEMBERED:
                    self._handled.popitem(last=False)
        finally:
            with self._lock:
                self._under_way.discard(key)

    def _content(self, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        told = {name.lower(): value for name, value in headers.items()}
        try:
            timestamp, nonce, signed = (told[name.lower()] for name in _HEADERS)
        except KeyError as error:
            raise WebhookRejected(Rejection.UNSIGNED, f"there is no header {error.args[0]}") from None
        if not is_signed(signed, self._secrets, timestamp, nonce, body):
            raise WebhookRejected(Rejection.ALTERED, "the signature does not fit")
        self._require_fresh(timestamp, nonce)
        try:
            content: dict[str, Any] = json.loads(body)
            self._require_timely(content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WebhookRejected(Rejection.MALFORMED, f"no notification: {type(error).__name__}") from None
        return content

    def _require_fresh(self, timestamp: str, nonce: str) -> None:
        """Signed, so that nobody but the sender chose these."""
        now = self._clock.now()
        try:
            sent = datetime.fromtimestamp(float(timestamp), UTC)
        except (ValueError, OverflowError, OSError):
            raise WebhookRejected(Rejection.MALFORMED, "the timestamp is none") from None
        away_s = (now - sent).total_seconds()
        if abs(away_s) > self._window_s:
            raise WebhookRejected(Rejection.STALE, f"sent {away_s:.0f} s ago; {self._window_s:g} s are allowed")
        if sent < self._nonces.since:
            raise WebhookRejected(Rejection.STALE, "sent before this receiver began; it may have been here before")
        with self._lock:
            # From the earliest clock that may send it to the latest one that may.
            if not nonce or len(nonce) > _LONGEST_NONCE or not self._nonces.is_first(nonce, now, 2 * self._window_s):
                raise WebhookRejected(Rejection.REPLAYED, "this very message was here before")

    def _require_timely(self, content: Mapping[str, Any]) -> None:
        is_past = _moment(content["valid_until"]) <= self._clock.now()
        if not self._accept_late and (is_past or content["late"] or content["replayed"]):
            why = "a person sent it again" if content["replayed"] else "what it tells no longer holds"
            raise WebhookRejected(Rejection.LATE, why)

    def _notification(self, content: Mapping[str, Any], *, duplicate: bool) -> WebhookNotification:
        valid_until = _moment(content["valid_until"])
        is_news = not (content["late"] or content["replayed"] or content["test"] or content["kind"] == "HELD_BACK")
        is_call = is_news and content.get("call") is True
        return WebhookNotification(
            key=content["key"],
            thread=content["thread"],
            kind=content["kind"],
            summary=content["summary"],
            event_id=content["event_id"],
            revision=content["revision"],
            camera_id=content["camera_id"],
            event_time=_moment(content["event_time"]),
            valid_until=valid_until,
            late=content["late"],
            replayed=content["replayed"],
            test=content["test"],
            held_back=content["held_back"],
            duplicate=duplicate,
            may_act=is_call and not duplicate and self._clock.now() < valid_until,
            content=content,
        )


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("no time zone")
    return at
