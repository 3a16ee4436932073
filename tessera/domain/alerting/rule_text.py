"""Rules as plain objects, as they stand in YAML and JSON files, and back.

    {"rule_id": "gate-at-night", "kind": "UNKNOWN_PERSON", "severity": "CRITICAL", "camera_ids": ["gate"],
     "schedule": {"time_zone": "Europe/Berlin", "outside": true,
                  "hours": [{"start": "07:00", "end": "18:00", "days": ["MON", "TUE", "WED", "THU", "FRI"]}]},
     "dwell": "20s", "cooldown": "10min"}

Names are those of `Rule`; durations leave `_s` out and are `90s`, `10min`, `2h`, `1d` or a number of seconds. A name
that nobody knows is refused: a rule with a misspelt condition would be told of everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from enum import StrEnum
from typing import Any, TypeVar

from tessera.domain.alerting.rules import Grouping, Rule, RuleKind, Severity
from tessera.domain.alerting.schedules import Day, Hours, Schedule
from tessera.domain.alerting.wording import duration_text
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.errors import InvalidInputError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)")
_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATIONS = frozenset({"dwell_s", "window_s", "lasting_s", "cooldown_s", "remind_s", "time_to_live_s"})
_CHOICES: dict[str, type[StrEnum]] = {"kind": RuleKind, "severity": Severity}
_CHOICE_LISTS: dict[str, type[StrEnum]] = {"camera_event_kinds": CameraEventKind, "group_by": Grouping}
_NAME_LISTS = frozenset({"camera_ids", "collection_ids", "labels", "subject_ids", "zones"})

S = TypeVar("S", bound=StrEnum)


def rule_from(told: object) -> Rule:
    """A rule from a plain object.

    Raises:
        InvalidInputError: it is no rule; the error names the field and what it allows.
    """
    known = {_name_in_text(each): each.name for each in fields(Rule)}
    object_ = _object("rule", told, known)
    for needed in ("rule_id", "kind"):
        if needed not in object_:
            raise InvalidInputError(needed, "nothing", "the rule's id and its kind, always")
    return Rule(**{known[name]: _read(known[name], value) for name, value in object_.items()})


def rule_to(rule: Rule) -> dict[str, Any]:
    """A rule as a plain object, without what is as it would be anyway."""
    told: dict[str, Any] = {}
    for each in fields(rule):
        value = getattr(rule, each.name)
        if value != _usual(each):
            told[_name_in_text(each)] = _plain(each.name, value)
    return told


def read_duration(field: str, value: object) -> float:
    """Seconds from `90s`, `10min`, `2h`, `1d` or a number.

    Raises:
        InvalidInputError: it is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise InvalidInputError(field, value, "a duration such as 90s, 10min, 2h, or a number of seconds")
    return float(found[1]) * _UNITS_S[found[2]]


def _name_in_text(field: Field[Any]) -> str:
    return field.name.removesuffix("_s") if field.name in _DURATIONS else field.name


def _usual(field: Field[Any]) -> object:
    return None if field.default is MISSING else field.default


def _plain(name: str, value: Any) -> Any:  # noqa: ANN401 - any field of a rule
    if name in _DURATIONS:
        return value if value % 1 else duration_text(value).replace(" ", "")
    if isinstance(value, Schedule):
        hours = [
            {"start": each.start, "end": each.end, "days": [day.value for day in each.days]} for each in value.hours
        ]
        return {"time_zone": value.time_zone, "outside": value.outside, "hours": hours}
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return value.value if isinstance(value, StrEnum) else value


def _read(name: str, value: object) -> Any:  # noqa: ANN401 - any field of a rule
    if name in _DURATIONS:
        return read_duration(name.removesuffix("_s"), value)
    if name in _CHOICES:
        return _choice(name, value, _CHOICES[name])
    if name in _CHOICE_LISTS:
        return tuple(_choice(name, each, _CHOICE_LISTS[name]) for each in _list(name, value))
    if name in _NAME_LISTS:
        return tuple(_typed(name, each, str, "a list of texts") for each in _list(name, value))
    if name == "schedule":
        return _schedule(value)
    kinds: dict[str, tuple[type | tuple[type, ...], str, Callable[[Any], Any]]] = {
        "enabled": (bool, "true or false", bool),
        "min_probability": ((int, float), "a number", float),
        "count": (int, "a whole number", int),
        "messages_per_hour": (int, "a whole number", int),
    }
    kind, allowed, make = kinds.get(name, (str, "a text", str))
    return make(_typed(name, value, kind, allowed))


def _schedule(value: object) -> Schedule:
    told = _object("schedule", value, {"time_zone", "outside", "hours"})
    return Schedule(
        hours=tuple(map(_hours, _list("schedule.hours", told.get("hours", [])))),
        time_zone=_typed("schedule.time_zone", told.get("time_zone", "UTC"), str, "a text"),
        outside=_typed("schedule.outside", told.get("outside", False), bool, "true or false"),
    )


def _hours(value: object) -> Hours:
    told = _object("schedule.hours", value, {"start", "end", "days"})
    days = _list("schedule.hours.days", told.get("days", list(Day)))
    return Hours(
        start=_typed("schedule.hours.start", told.get("start"), str, "HH:MM, in quotes"),
        end=_typed("schedule.hours.end", told.get("end"), str, "HH:MM, in quotes"),
        days=tuple(_choice("schedule.hours.days", day, Day) for day in days),
    )


def _object(field: str, value: object, known: Mapping[str, str] | set[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInputError(field, value, "an object with names and values")
    for name in value:
        if name not in known:
            raise InvalidInputError(f"{field}.{name}", "a name that nobody knows", ", ".join(sorted(known)))
    return value


def _list(field: str, value: object) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise InvalidInputError(field, value, "a list")
    return list(value)


def _choice(field: str, value: object, kind: type[S]) -> S:
    if isinstance(value, str) and value.upper() in kind.__members__:
        return kind[value.upper()]
    raise InvalidInputError(field, value, ", ".join(kind))


T = TypeVar("T")


def _typed(field: str, value: Any, kind: type[T] | tuple[type, ...], allowed: str) -> T:  # noqa: ANN401 - from a file
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InvalidInputError(field, value, allowed)
    return value  # type: ignore[return-value] # a tuple of types has no type of its own
