"""Values as JSON with stable keys: the names of the SDK's own fields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import click

from tessera.client.answers import Identification


def echo_json(value: object) -> None:
    """Write one value on one line, at once."""
    click.echo(json.dumps(plain(value)))


def plain(value: object) -> Any:  # noqa: ANN401 - whatever json.dumps takes
    """A value of the SDK as dictionaries, lists, strings and numbers.

    Raises:
        TypeError: JSON has no words for it.
    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, datetime | timedelta):
        return value.isoformat() if isinstance(value, datetime) else value.total_seconds()
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(member) for key, member in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(member) for member in value]
    if is_dataclass(value):
        return _of_dataclass(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _of_dataclass(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the SDK's answers
    written = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Identification):
        written["subject_id"] = value.subject_id
    return written
