"""Records as text and back, for stores that keep text: one JSON object a record, plain names, schema 1.

Built from the dataclasses' own types, so that a record and its text cannot drift apart. Vectors are never text: they
are little-endian float32.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from operator import attrgetter
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
    kind: type = type(value)
    return _plainer(kind)(value)


@lru_cache(maxsize=64)
def _plainer(kind: type) -> Callable[[Any], Any]:
    """What makes values of a type plain; found once for each type."""
    if is_dataclass(kind):
        return _plain_dataclass(kind)
    if issubclass(kind, datetime):
        return datetime.isoformat
    if issubclass(kind, Enum):
        return attrgetter("value")
    if issubclass(kind, Mapping):
        return dict
    raise TypeError(f"a {kind.__name__} has no place in a record")


def _plain_dataclass(kind: type) -> Callable[[Any], dict[str, Any]]:
    names = tuple(field.name for field in fields(kind))
    keys, own_name = ("~", *names), (kind.__name__,)
    if len(names) == 1:  # of one name, `attrgetter` makes no tuple
        return lambda record: dict(zip(keys, (*own_name, getattr(record, names[0])), strict=True))
    values_of = attrgetter(*names)
    return lambda record: dict(zip(keys, (*own_name, *values_of(record)), strict=True))


# Handing each value on to JSON's own encoder takes a third of the time of making plain dictionaries of it first.
# A record is a tree: nothing in it needs to be looked for twice.
_encoded = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False, default=_plain).encode


# ---- from text

_Maker = Callable[[Any], Any]
"""Makes a value of what JSON read."""


@lru_cache(maxsize=256)
def _maker(kind: Any) -> _Maker | None:  # noqa: ANN401, PLR0911 - a type; one return for each kind of it
    """What makes values of a type; found once for each type. None: JSON's own value is the value."""
    kind = getattr(kind, "__supertype__", kind)
    if isinstance(kind, UnionType):
        return _union_maker(kind)
    if is_dataclass(kind):
        return _dataclass_maker(kind)  # type: ignore[arg-type] # a type, never one of its values
    if get_origin(kind) is Mapping:
        return _mapping_maker(_maker(get_args(kind)[1]))
    if get_origin(kind) is tuple:
        return _tuple_maker(_maker(get_args(kind)[0]))
    if kind is datetime:
        return datetime.fromisoformat
    if isinstance(kind, type) and issubclass(kind, Enum | float):
        return kind
    return None


def _made(kind: Any, raw: Any) -> Any:  # noqa: ANN401 - JSON
    make = _maker(kind)
    return raw if make is None else make(raw)


def _dataclass_maker(kind: Callable[..., Any]) -> _Maker:
    hints = get_type_hints(kind)
    makers = [(field.name, _maker(hints[field.name])) for field in fields(kind)]  # type: ignore[arg-type] # a dataclass

    def made(raw: Any) -> Any:  # noqa: ANN401 - JSON
        return kind(**{name: raw[name] if make is None else make(raw[name]) for name, make in makers if name in raw})

    return made


def _mapping_maker(make: _Maker | None) -> _Maker:
    if make is None:
        return lambda raw: dict(raw.items())
    return lambda raw: {key: make(item) for key, item in raw.items()}


def _tuple_maker(make: _Maker | None) -> _Maker:
    return tuple if make is None else lambda raw: tuple(map(make, raw))


def _union_maker(kind: UnionType) -> _Maker:
    members = [getattr(member, "__supertype__", member) for member in get_args(kind) if member is not NoneType]
    may_be_none = NoneType in get_args(kind)
    by_name = {member.__name__: _maker(member) for member in members}
    only = _maker(members[0]) if len(members) == 1 else None

    def made(raw: Any) -> Any:  # noqa: ANN401 - JSON
        if raw is None and may_be_none:
            return None
        make = only if len(members) == 1 else by_name[raw["~"]]
        return raw if make is None else make(raw)

    return made
