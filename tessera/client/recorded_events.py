"""Events that were written down as `tessera watch --json` prints them, one on a line, as rules judge them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from tessera.domain.alerting.alerts import AlertChange
from tessera.domain.alerting.happenings import AlertSettled, CameraHappened, Happening, Seen, VerifyFailed
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.decision import Outcome
from tessera.domain.errors import InvalidInputError


def read_happenings(lines: Iterable[str]) -> Iterator[Happening]:
    """What rules judge, line by line; what they do not judge is passed over, as are empty lines.

    Raises:
        InvalidInputError: a line is no event; the error names it.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            happening = happening_from(json.loads(line))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            allowed = f"an event as `tessera watch --json` prints it ({type(error).__name__}: {error})"
            raise InvalidInputError(f"events, line {number}", line.strip(), allowed) from None
        if happening is not None:
            yield happening


def happening_from(told: Mapping[str, Any]) -> Happening | None:
    """One event; None: rules do not judge it.

    Raises:
        KeyError: a name is missing.
        ValueError: a value is none of its kind.
    """
    body = _body(told)
    if body is None:
        return None
    return Happening(
        event_id=told["event_id"],
        revision=int(told["revision"]),
        camera_id=told["camera_id"],
        event_s=_seconds(told["event_time"]),
        recorded_s=_seconds(told["recorded_at"]),
        valid_until_s=_seconds(told["valid_until"]),
        body=body,
    )


def _body(told: Mapping[str, Any]) -> Seen | CameraHappened | VerifyFailed | AlertSettled | None:
    if (seen := told.get("sighting")) is not None:
        return Seen(
            collection_id=seen["collection_id"],
            outcome=Outcome[seen["answer"]["outcome"]],
            subject_id=seen.get("subject_id", ""),
            labels=frozenset(seen.get("labels", ())),
            zones=frozenset(seen.get("zones", ())),
            link_id=seen.get("link_id", ""),
            lasted_s=max(0.0, _seconds(seen["last_seen"]) - _seconds(seen["first_seen"])),
            ended=seen.get("ended", False),
            best_shot_id=seen.get("best_shot_id", ""),
        )
    if (change := told.get("camera_change")) is not None:
        return CameraHappened(CameraEventKind[change["kind"]], change.get("probability"))
    if (failure := told.get("verify_failure")) is not None:
        return VerifyFailed(failure["collection_id"], failure["subject_id"])
    alert = told.get("alert") or {}
    return AlertSettled() if alert.get("change") == AlertChange.RESOLVED else None


def _seconds(told: str) -> float:
    return datetime.fromisoformat(told).timestamp()
