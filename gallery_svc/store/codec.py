"""Records as text and back, for stores that keep text: one JSON object a record, plain names, schema 1.

Built from the dataclasses' own types, so that a record and its text cannot drift apart. Vectors are never text: they
are little-endian float32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from json.encoder import encode_basestring
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from tessera.domain.embedding import Vector
from tessera.domain.errors import StoreCorruptError

R = TypeVar("R")


def dump(record: object) -> str:
    """A record as compact JSON."""
    return _WRITERS[type(record)](record)


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


# ---- to text

_Writer = Callable[[Any], str]
"""Makes JSON of a value."""


class _Writers(dict[type, _Writer]):
    """What makes JSON of the values of a type; found once for each type."""

    def __missing__(self, kind: type) -> _Writer:
        writer = self[kind] = _writer(kind)
        return writer


# JSON's own encoder, handed each record as a dictionary, takes three times as long. What is written is the same.
_WRITERS = _Writers()


def _writer(kind: type) -> _Writer:  # noqa: PLR0911 - one return for each kind of type
    if is_dataclass(kind):
        return _dataclass_writer(kind)
    if issubclass(kind, str):
        return encode_basestring
    if issubclass(kind, bool | int):
        return _BOOLS.__getitem__ if kind is bool else int.__repr__
    if issubclass(kind, float):
        return _float_text
    if issubclass(kind, datetime):
        return _quoted_time
    if issubclass(kind, tuple | list):
        return _list_text
    if issubclass(kind, Mapping):
        return _mapping_text
    if issubclass(kind, Enum):
        return lambda value: dump(value.value)
    if kind is NoneType:
        return lambda _: "null"
    raise TypeError(f"a {kind.__name__} has no place in a record")


_BOOLS = {False: "false", True: "true"}


def _dataclass_writer(kind: type) -> _Writer:
    """What fills the values of a record into a text that has its names already."""
    names = tuple(field.name for field in fields(kind))
    form = f'{{"~":"{kind.__name__}"' + "".join(f',"{name}":%s' for name in names) + "}"
    values_of = attrgetter(*names)
    if len(names) == 1:  # of one name, `attrgetter` makes no tuple
        return lambda record: form % dump(values_of(record))
    writers = _WRITERS
    return lambda record: form % tuple([writers[type(value)](value) for value in values_of(record)])


def _list_text(values: Sequence[object]) -> str:
    return f"[{','.join(map(dump, values))}]" if values else "[]"


def _mapping_text(values: Mapping[str, object]) -> str:
    return "{" + ",".join([f"{encode_basestring(name)}:{dump(value)}" for name, value in values.items()]) + "}"


def _float_text(value: float) -> str:
    return float.__repr__(value) if math.isfinite(value) else json.dumps(value)


def _quoted_time(at: datetime) -> str:
    return f'"{time_text(at)}"'


def time_text(at: datetime) -> str:
    """A time as ISO 8601 with its offset."""
    # One write has its time in five places. Equal times of other zones are other texts, so only those of UTC are kept.
    return _utc_text(at) if at.tzinfo is UTC else at.isoformat()


_utc_text = lru_cache(maxsize=64)(datetime.isoformat)


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
