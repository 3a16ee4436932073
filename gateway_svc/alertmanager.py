"""Prometheus' Alertmanager, API v2: an alert is posted with its start, and with its end once it is resolved.

Alertmanager keeps state and groups, silences and repeats by itself. All revisions of one alert have the same labels:
one incident there, too.

Source: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml (postAlerts)
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import aiohttp

from gateway_svc.delivering import DeliveryError, DeliveryRefusedError
from gateway_svc.happenings import Happening, Kind
from gateway_svc.messages import Message, stamp
from gateway_svc.targets import Alertmanager

_TEST_LIVES = timedelta(seconds=60)
_NAMES = {Kind.TEST: "TesseraTest", Kind.HELD_BACK: "TesseraHeldBack"}


class AlertmanagerDeliverer:
    """Posts alerts to one Alertmanager.

    Args:
        way: where it is.
        timeout_s: of an attempt.
    """

    def __init__(self, way: Alertmanager, timeout_s: float) -> None:
        self._way = way
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def deliver(self, message: Message) -> None:
        """Post it.

        Raises:
            DeliveryRefusedError: it answered that the alert cannot be used, or with a redirect.
            DeliveryError: no answer, or one that asks for another attempt.
        """
        url = self._way.url.rstrip("/") + "/api/v2/alerts"
        body = json.dumps([posted(message, self._way.lives_s)])
        try:
            async with self._opened().post(
                url, data=body, headers={"Content-Type": "application/json"}, allow_redirects=False
            ) as answer:
                status = answer.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise DeliveryError(f"no answer: {type(error).__name__}") from None
        if 200 <= status < 300:
            return
        if status in {400, 422} or 300 <= status < 400:
            raise DeliveryRefusedError(f"answered {status}")
        raise DeliveryError(f"answered {status}")

    async def tell_state(self, message: Message) -> None:
        """End an alert that was resolved, however late: an end is no news.

        Raises:
            DeliveryError: as `deliver`.
        """
        if message.happening.is_over:
            await self.deliver(message)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            way = self._way
            auth = aiohttp.BasicAuth(way.username, str(way.password)) if way.username else None
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout, auth=auth, trust_env=False)
        return self._session


def posted(message: Message, lives_s: float) -> dict[str, object]:
    """One alert as API v2 wants it.

    Args:
        message: what is told.
        lives_s: an alert that nobody resolves ends after so long.
    """
    happening, told = message.happening, message.happening.facts
    starts, ends = _span(happening, message.sent_at, lives_s)
    camera_ids = told.get("camera_ids")
    first = camera_ids[0] if isinstance(camera_ids, list) and camera_ids else happening.camera_id
    labels = {
        "alertname": _NAMES.get(happening.kind) or told.get("rule_id"),
        "alert_id": happening.incident,
        "camera": first,
        "severity": happening.severity.name.lower(),
        "source": "tessera",
    }
    annotations = {
        "summary": f"{message.marks}{happening.summary}",
        "title": told.get("title"),
        "state": told.get("state"),
        "actor": told.get("actor"),
        "comment": told.get("comment"),
        "valid_until": stamp(happening.valid_until),
        "key": message.key,
        "held_back": message.held_back or None,
        "picture": message.shot.url if message.shot is not None else None,
    }
    return {
        "labels": {name: str(value) for name, value in labels.items() if value},
        "annotations": {name: str(value) for name, value in annotations.items() if value},
        "startsAt": stamp(starts),
        "endsAt": stamp(ends),
    }


def _span(happening: Happening, now: datetime, lives_s: float) -> tuple[datetime, datetime]:
    if happening.kind is not Kind.ALERT:
        return now, now + _TEST_LIVES
    opened = _moment(happening.facts.get("opened_at")) or happening.event_time
    if not happening.is_over:
        return opened, now + timedelta(seconds=lives_s)
    # An end in the future would not be one yet.
    return opened, min(_moment(happening.facts.get("updated_at")) or now, now)


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None
