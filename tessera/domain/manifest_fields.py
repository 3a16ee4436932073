"""Reading one field of a manifest: an allowed value of the right type, or an error that says what is allowed.

Manifests come from people too, for the encoders that they bring. Nothing is converted: `"112"` is not 112.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from tessera.domain.errors import InvalidInputError

Raw = Mapping[str, Any]
"""A JSON object as the parser gives it."""

Triple = tuple[float, float, float]
"""One number for each channel."""

Choice = TypeVar("Choice", bound=StrEnum)

WHOLE = "manifest"
"""What errors call the outermost object; its fields go by their own names."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_CHARACTERS = 200
_LARGEST = 3.4e38  # what float32 holds


def read_object(raw: object, field: str, known: Collection[str]) -> Raw:
    """A JSON object that has no field but `known`.

    Raises:
        InvalidInputError: it is none, or it has a field that nobody would read.
    """
    if not isinstance(raw, dict):
        raise InvalidInputError(field, raw, "a JSON object")
    for key in raw:
        if key not in known:
            within = "" if field == WHOLE else field
            raise InvalidInputError(_joined(within, key), raw[key], f"no such field; there are {', '.join(known)}")
    return raw


def read_text(raw: Raw, key: str, within: str = "", default: str | None = None) -> str:
    """A text of 1 to 200 characters."""
    value = _value(raw, key, default)
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_CHARACTERS:
        raise InvalidInputError(_joined(within, key), value, f"1 to {_MAX_CHARACTERS} characters")
    return value


def read_name(raw: Raw, key: str) -> str:
    """A name that can be a folder and the first part of a model id."""
    value = read_text(raw, key)
    if not is_name(value):
        raise InvalidInputError(key, value, "1 to 64 of a-z, 0-9, . _ -, starting with a letter or a digit")
    return value


def is_name(value: str) -> bool:
    """Whether an encoder can be called so."""
    return re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", value) is not None


def read_sha256(raw: Raw, key: str, within: str = "") -> str:
    """64 lower-case hex digits."""
    value = _value(raw, key, None)
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise InvalidInputError(_joined(within, key), value, "64 hex digits: the sha256 of the file")
    return value


def read_whole_number(raw: Raw, key: str, low: int, high: int, within: str = "") -> int:
    """A whole number from `low` to `high`."""
    value = _value(raw, key, None)
    allowed = f"{low}" if low == high else f"a whole number from {low} to {high}"
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidInputError(_joined(within, key), value, allowed)
    return value


def read_flag(raw: Raw, key: str, within: str, *, default: bool) -> bool:
    """True or false."""
    value = _value(raw, key, default)
    if not isinstance(value, bool):
        raise InvalidInputError(_joined(within, key), value, "true or false")
    return value


def read_choice(raw: Raw, key: str, kind: type[Choice], within: str = "", default: Choice | None = None) -> Choice:
    """One of the values of an enum."""
    value = _value(raw, key, default)
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(member.value for member in kind)
        raise InvalidInputError(_joined(within, key), value, f"one of {allowed}") from None


def read_triple(raw: Raw, key: str, within: str, default: float, *, nonzero: bool = False) -> Triple:
    """Three finite numbers, one for each channel; a single number stands for all three."""
    value = _value(raw, key, default)
    numbers = value if isinstance(value, list) else [value] * 3
    allowed = f"a {'finite number other than 0' if nonzero else 'finite number'}, or three of them"
    if len(numbers) != 3 or not all(_is_number(number) and (number != 0 or not nonzero) for number in numbers):
        raise InvalidInputError(_joined(within, key), value, allowed)
    first, second, third = (float(number) for number in numbers)
    return first, second, third


def _is_number(value: object) -> bool:
    # No network needs more, and a whole number in JSON may be larger than any float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _value(raw: Raw, key: str, default: object) -> Any:  # noqa: ANN401 - JSON holds anything
    # Null and what is missing are None, which no reader allows.
    return raw.get(key, default)


def _joined(within: str, key: str) -> str:
    return f"{within}.{key}" if within else key
