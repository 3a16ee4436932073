"""Plain values to frozen dataclasses, strictly: an unknown key, a wrong kind or a value out of range is refused.

The dataclass is the whole schema: its fields, their types and `Within` beside them. Nothing is converted but a whole
number to the number that was asked for.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from tessera.domain.errors import InvalidInputError

_Made = TypeVar("_Made")

_KINDS: Mapping[object, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@dataclass(frozen=True, slots=True)
class Within:
    """The range of a number, or of how many there are in a list."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


def read(kind: type[_Made], raw: object, field: str = "") -> _Made:
    """Read one value.

    Args:
        kind: a dataclass.
        raw: a mapping of plain values.
        field: its name within the whole, for the errors.

    Raises:
        InvalidInputError: naming the field, the value and what is allowed.
    """
    return cast("_Made", _value(kind, raw, field))


def plain(value: object) -> Any:  # noqa: ANN401 - plain values of any shape
    """A dataclass as plain values, which `read` makes the same dataclass of."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, StrEnum) else value


def _value(kind: Any, raw: object, field: str) -> object:  # noqa: ANN401, PLR0911 - a type of any kind, one answer each
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _within(_value(arguments[0], raw, field), arguments[1], field)
    if origin in {Union, types.UnionType}:
        return None if raw is None else _value(arguments[0], raw, field)
    if origin is tuple:
        if not isinstance(raw, list):
            raise InvalidInputError(field, raw, "a list")
        return tuple(_value(arguments[0], one, f"{field}[{at}]") for at, one in enumerate(raw))
    if origin is not None and issubclass(origin, Mapping):
        return _options(raw, field)
    if dataclasses.is_dataclass(kind):
        return _dataclass(cast("type[Any]", kind), raw, field)
    if issubclass(kind, StrEnum):
        if not isinstance(raw, str) or raw not in list(kind):
            raise InvalidInputError(field, raw, f"one of {', '.join(kind)}")
        return kind(raw)
    return _scalar(kind, raw, field)


def _dataclass(kind: type[Any], raw: object, field: str) -> object:
    if not isinstance(raw, Mapping):
        raise InvalidInputError(field or "recipe", raw, "a mapping")
    hints, fields = get_type_hints(kind, include_extras=True), dataclasses.fields(kind)
    known = [one.name for one in fields]
    for key in raw:
        if key not in known:
            raise InvalidInputError(_below(field, str(key)), raw[key], f"no such field; there are {', '.join(known)}")
    for one in fields:
        needed = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
        if needed and one.name not in raw:
            raise InvalidInputError(_below(field, one.name), None, "a value: it has no default")
    return kind(**{key: _value(hints[key], one, _below(field, key)) for key, one in raw.items()})


def _options(raw: object, field: str) -> Mapping[str, object]:
    """Names and plain values; whoever they are for knows more of them."""
    if not isinstance(raw, Mapping):
        raise InvalidInputError(field, raw, "a mapping")
    for key, one in raw.items():
        if not isinstance(key, str) or not isinstance(one, int | float | str | bool):
            raise InvalidInputError(_below(field, str(key)), one, "a number, a text, true or false")
    return dict(raw)


def _scalar(kind: type, raw: object, field: str) -> object:
    # bool is an int to Python, not to people
    if kind is float and type(raw) in {int, float} and math.isfinite(cast("float", raw)):
        return float(cast("float", raw))
    if type(raw) is not kind or raw != raw:  # noqa: PLR0124 - not a number
        raise InvalidInputError(field, raw, _KINDS[kind])
    return raw


def _within(value: object, allowed: Within, field: str) -> object:
    measured = len(value) if isinstance(value, tuple | str) else cast("float", value)
    if not allowed.low <= measured <= allowed.high:
        what = f"{allowed} of them" if isinstance(value, tuple) else str(allowed)
        raise InvalidInputError(field, value, what)
    return value


def _below(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name
