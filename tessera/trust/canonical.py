"""Statements as text that has one form only, so that a signature over it means the same everywhere.

Canonical JSON: keys sorted, no spaces, UTF-8, whole numbers, no floats (their text differs between programs). What is
signed is `tessera-KIND-1`, a line feed, and that text: a signature of one kind is none of another.

Source: after RFC 8785, limited to what needs no rules for numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tessera.domain.errors import InvalidInputError

_LARGEST = 2**64
_ALLOWED = "text, whole numbers below 2^64, true, false, null, lists and objects of these"


def canonical(statement: Mapping[str, object]) -> str:
    """A statement as canonical JSON.

    Raises:
        InvalidInputError: it holds what has no canonical form, such as a float.
    """
    _check(statement)
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parse_canonical(text: str | bytes, field: str = "statement") -> dict[str, Any]:
    """A statement from its canonical text.

    Args:
        text: the JSON.
        field: what it is, for the error.

    Raises:
        InvalidInputError: it is not JSON, or not in its canonical form.
    """
    try:
        plain = text.decode() if isinstance(text, bytes) else text
        found = json.loads(plain)
        is_canonical = isinstance(found, dict) and canonical(found) == plain
    except (ValueError, RecursionError, InvalidInputError):
        is_canonical = False
    if not is_canonical:
        raise InvalidInputError(field, "text that is not canonical JSON", "what Tessera wrote, to the byte")
    return dict(found)


def signed_bytes(kind: str, text: str) -> bytes:
    """The bytes that a signature is over.

    Args:
        kind: what the statement is, such as `receipt`.
        text: canonical JSON.
    """
    return f"tessera-{kind}-1\n{text}".encode()


def moment_text(moment: datetime) -> str:
    """A moment as RFC 3339 text in UTC, always to the microsecond."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment_of(text: str) -> datetime:
    """A moment from `moment_text`.

    Raises:
        ValueError: it is not such text.
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def _check(value: object) -> None:
    if isinstance(value, Mapping):
        for key, member in value.items():
            _check_key(key)
            _check(member)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for member in value:
            _check(member)
    elif isinstance(value, str):
        _check_text(value)
    elif not (value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < _LARGEST)):
        raise InvalidInputError("statement", type(value).__name__, _ALLOWED)


def _check_key(key: object) -> None:
    # Sorting other letters differs between languages.
    if not (isinstance(key, str) and key.isascii()):
        raise InvalidInputError("statement", type(key).__name__, "keys in ASCII")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError("statement", "text with half a character", _ALLOWED) from None
