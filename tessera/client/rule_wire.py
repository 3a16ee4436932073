"""Rules as messages and back: the same for the SDK and for the gallery."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

from tessera.client import wire
from tessera.client.alert_values import StoredRule
from tessera.domain.alerting.rules import Grouping, Rule, RuleKind, Severity
from tessera.domain.alerting.schedules import Day, Hours, Schedule
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.errors import InvalidInputError
from tessera.v1 import events_pb2, rules_pb2

C = TypeVar("C", bound=StrEnum)

_DURATIONS = ("dwell", "window", "lasting", "cooldown", "remind", "time_to_live")
_LISTS = ("camera_ids", "collection_ids", "labels", "subject_ids", "zones")


def rule_to_wire(rule: Rule) -> rules_pb2.Rule:
    """One rule."""
    message = rules_pb2.Rule(
        rule_id=rule.rule_id,
        kind=events_pb2.RuleKind.Value(f"RULE_KIND_{rule.kind}"),
        severity=events_pb2.Severity.Value(f"SEVERITY_{rule.severity}"),
        display_name=rule.display_name,
        disabled=not rule.enabled,
        camera_event_kinds=[
            events_pb2.CameraEventKind.Value(f"CAMERA_EVENT_KIND_{kind}") for kind in rule.camera_event_kinds
        ],
        min_probability=rule.min_probability,
        count=rule.count,
        messages_per_hour=rule.messages_per_hour,
    )
    for name in _LISTS:
        getattr(message, name).extend(getattr(rule, name))
    for name in _DURATIONS:
        getattr(message, name).CopyFrom(wire.seconds_to_wire(getattr(rule, f"{name}_s")))
    if rule.group_by is not None:
        groupings = [rules_pb2.Grouping.Value(f"GROUPING_{each}") for each in rule.group_by]
        message.group_by.CopyFrom(rules_pb2.GroupBy(groupings=groupings))
    if rule.schedule is not None:
        message.schedule.CopyFrom(_schedule_to_wire(rule.schedule))
    return message


def rule_from_wire(message: rules_pb2.Rule) -> Rule:
    """One rule; what is not set is as usual.

    Raises:
        InvalidInputError: it is no rule; the error names the field and what it allows.
    """
    values: dict[str, Any] = {name: tuple(getattr(message, name)) for name in _LISTS}
    given = {field.name for field, _ in message.ListFields()}
    values |= {f"{name}_s": wire.seconds_from_wire(getattr(message, name)) for name in _DURATIONS if name in given}
    if message.severity:
        values["severity"] = _choice("severity", events_pb2.Severity, message.severity, "SEVERITY_", Severity)
    if message.messages_per_hour:
        values["messages_per_hour"] = message.messages_per_hour
    if message.HasField("group_by"):
        groupings = message.group_by.groupings
        values["group_by"] = _choices("group_by", rules_pb2.Grouping, groupings, "GROUPING_", Grouping)
    if message.HasField("schedule"):
        values["schedule"] = _schedule_from_wire(message.schedule)
    kinds = message.camera_event_kinds
    return Rule(
        rule_id=message.rule_id,
        kind=_choice("kind", events_pb2.RuleKind, message.kind, "RULE_KIND_", RuleKind),
        display_name=message.display_name,
        enabled=not message.disabled,
        camera_event_kinds=_choices(
            "camera_event_kinds", events_pb2.CameraEventKind, kinds, "CAMERA_EVENT_KIND_", CameraEventKind
        ),
        min_probability=message.min_probability,
        count=message.count,
        **values,
    )


def stored_rule_from_wire(message: rules_pb2.StoredRule) -> StoredRule:
    """A rule with what the service knows of it."""
    return StoredRule(
        rule=rule_from_wire(message.rule),
        revision=message.revision,
        updated_at=wire.time_from_wire(message.updated_at),
        actor=message.actor,
        deleted=message.deleted,
    )


def stored_rule_to_wire(stored: StoredRule) -> rules_pb2.StoredRule:
    """The same as a message."""
    return rules_pb2.StoredRule(
        rule=rule_to_wire(stored.rule),
        revision=stored.revision,
        updated_at=wire.time_to_wire(stored.updated_at),
        actor=stored.actor,
        deleted=stored.deleted,
    )


def _schedule_to_wire(schedule: Schedule) -> rules_pb2.Schedule:
    hours = [
        rules_pb2.Hours(
            start=each.start, end=each.end, days=[rules_pb2.Weekday.Value(f"WEEKDAY_{day}") for day in each.days]
        )
        for each in schedule.hours
    ]
    return rules_pb2.Schedule(hours=hours, time_zone=schedule.time_zone, outside=schedule.outside)


def _schedule_from_wire(message: rules_pb2.Schedule) -> Schedule:
    hours = tuple(
        Hours(
            each.start,
            each.end,
            _choices("schedule.hours.days", rules_pb2.Weekday, each.days, "WEEKDAY_", Day) or tuple(Day),
        )
        for each in message.hours
    )
    return Schedule(hours, message.time_zone or "UTC", message.outside)


def _choices(field: str, enum: Any, numbers: Iterable[int], prefix: str, kind: type[C]) -> tuple[C, ...]:  # noqa: ANN401 - protobuf's enums share no type
    return tuple(_choice(field, enum, number, prefix, kind) for number in numbers)


def _choice(field: str, enum: Any, number: int, prefix: str, kind: type[C]) -> C:  # noqa: ANN401 - protobuf's enums share no type
    name = wire.enum_name(enum, number, prefix)
    if name not in kind.__members__:
        raise InvalidInputError(field, name or number, ", ".join(kind))
    return kind[name]
