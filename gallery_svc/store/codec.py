"""Records as text and back, for stores that keep text: one JSON object a record, plain names, schema 1.

Built from the dataclasses' own types, so that a record and its text cannot drift apart. Vectors are never text: they
are little-endian float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from tessera.domain.embedding import Vector
from tessera.domain.errors import StoreCorruptError

R = TypeVar("R")


def dump(record: object) -> str:
    """A record as compact JSON."""
    return _encoded(record)


def load(cls: type[R], text: str | bytes, key: str) -> R:
    """A record from what `dump` wrote.

    Args:
        cls: its dataclass.
        text: the JSON.
        key: where it was kept, for the error.

    Raises:
        StoreCorruptError: it is no such record.
    """
    try:
        made: R = _made(cls, json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorruptError(key, f"not a {cls.__name__}: {error}") from error
    return made


def vector_bytes(vector: Vector) -> bytes:
    """A vector as little-endian float32."""
    return vector.astype("<f4").tobytes()


def vector_from(raw: bytes) -> Vector:
    """A vector from `vector_bytes`."""
    return np.frombuffer(raw, dtype="<f4").astype(np.float32)


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """What JSON's encoder does not know by itself."""
    if is_dataclass(value):
        kind: type = type(value)
        return {"~": kind.__name__} | {name: getattr(value, name) for name in _field_names(kind)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no place in a record")


# Handing each value on to JSON's own encoder takes a third of the time of making plain dictionaries of it first.
_encoded = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=_plain).encode


@lru_cache(maxsize=64)
def _field_names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


@lru_cache(maxsize=64)
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _made(kind: Any, raw: Any) -> Any:  # noqa: ANN401, PLR0911 - one return for each kind of value
    kind = getattr(kind, "__supertype__", kind)
    if isinstance(kind, UnionType):
        return _made_of_union(kind, raw)
    if is_dataclass(kind):
        hints = _hints(kind)  # type: ignore[arg-type]
        return kind(**{f.name: _made(hints[f.name], raw[f.name]) for f in fields(kind) if f.name in raw})  # type: ignore[operator]
    if get_origin(kind) is Mapping:
        return {key: _made(get_args(kind)[1], item) for key, item in raw.items()}
    if get_origin(kind) is tuple:
        return tuple(_made(get_args(kind)[0], item) for item in raw)
    if kind is datetime:
        return datetime.fromisoformat(raw)
    if isinstance(kind, type) and issubclass(kind, Enum | float):
        return kind(raw)
    return raw


def _made_of_union(kind: UnionType, raw: Any) -> Any:  # noqa: ANN401 - one return for each kind of value
    if raw is None and NoneType in get_args(kind):
        return None
    members = [getattr(member, "__supertype__", member) for member in get_args(kind) if member is not NoneType]
    if len(members) == 1:
        return _made(members[0], raw)
    return _made(next(member for member in members if member.__name__ == raw["~"]), raw)
