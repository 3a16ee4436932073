"""Settings: one frozen dataclass per service, filled from the environment once at start, printed without secrets.

A field `port: int = 7001` of a class read with the prefix `TESSERA_ENCODER_` comes from `TESSERA_ENCODER_PORT`. What a
field means stands in the docstring under it. Secrets are fields of type `Secret`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import Field, fields
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from tessera.domain.errors import InvalidInputError

T = TypeVar("T")

MEMORY = "memory"
"""The store that keeps nothing beyond the process."""

_STORE_SCHEMES = ("redis://", "rediss://", "unix://")
_GROUP_SCHEMES = ("sentinel://", "cluster://")
_LOG_LEVELS = ("debug", "info", "warning", "error")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class Secret(str):
    """A string that never shows itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)" if self else "Secret()"


def load_settings(cls: type[T], prefix: str, environ: Mapping[str, str] | None = None) -> T:
    """Fill a settings dataclass from the environment.

    Args:
        cls: a frozen dataclass; its `__post_init__` may check values with `require`.
        prefix: of the variables, such as `TESSERA_ENCODER_`.
        environ: instead of the process's own.

    Raises:
        InvalidInputError: a value is not what its field allows, or a variable with the prefix belongs to no field.
    """
    environ = os.environ if environ is None else environ
    hints = get_type_hints(cls)
    known = {prefix + field.name.upper(): field for field in fields(cls)}  # type: ignore[arg-type]
    for name in environ:
        if name.startswith(prefix) and name not in known:
            # Its value is not shown: who misspells a name may have a secret in it.
            raise InvalidInputError(name, Secret("unknown"), "one of " + ", ".join(sorted(known)))
    values = {
        field.name: _convert(name, environ[name], hints[field.name]) for name, field in known.items() if name in environ
    }
    try:
        return cls(**values)
    except InvalidInputError as error:
        raise InvalidInputError(prefix + error.field.upper(), error.value, error.allowed) from error


def _convert(name: str, text: str, kind: Any) -> Any:  # noqa: ANN401 - one return for each kind of value
    if isinstance(kind, UnionType):
        if text == "" and NoneType in get_args(kind):
            return None
        kind = next(member for member in get_args(kind) if member is not NoneType)
    if kind is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise InvalidInputError(name, text, "true or false")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            allowed = "a whole number" if kind is int else "a number"
            raise InvalidInputError(name, text, allowed) from None
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(text)
        except ValueError:
            raise InvalidInputError(name, text, ", ".join(str(member.value) for member in kind)) from None
    if kind is Path:
        return Path(text).expanduser()
    return kind(text)


def require(condition: bool, field: str, value: object, allowed: str) -> None:
    """Say in `__post_init__` what a field allows.

    Raises:
        InvalidInputError: `condition` is false.
    """
    if not condition:
        raise InvalidInputError(field, value, allowed)


def require_port(field: str, value: int) -> None:
    """A TCP port, or 0 for one that the system picks."""
    require(0 <= value <= 65535, field, value, "0 to 65535; 0 lets the system choose")


def require_log_level(field: str, value: str) -> None:
    """A level of `tessera.chassis.logs.configure_logs`."""
    require(value in _LOG_LEVELS, field, value, ", ".join(_LOG_LEVELS))


def require_address(field: str, value: str) -> None:
    """Where another service listens: `host:port`."""
    require(":" in value, field, value, "host:port")


def require_store(field: str, value: str, *, groups: bool = False) -> None:
    """A store's URL, or `MEMORY`. The error names the scheme alone: a URL may hold a password.

    Args:
        field: its name.
        value: what it holds.
        groups: the service also takes a primary that Sentinels name, and a cluster.
    """
    schemes = _STORE_SCHEMES + (_GROUP_SCHEMES if groups else ())
    known = value == MEMORY or value.startswith(schemes)
    require(known, field, value.partition("://")[0], f"memory, or a {', '.join(schemes[:-1])} or {schemes[-1]} URL")


def redacted(settings: object) -> dict[str, str]:
    """Every setting as text, secrets hidden and passwords taken out of URLs: for the log at start."""
    return {field.name: _shown(field, settings) for field in fields(settings)}  # type: ignore[arg-type]


def _shown(field: Field[Any], settings: object) -> str:
    value = getattr(settings, field.name)
    if isinstance(value, Secret):
        return "***" if value else ""
    return hide_credentials(value) if isinstance(value, str) else str(value)


def hide_credentials(url: str) -> str:
    """`rtsp://user:password@host/x` becomes `rtsp://***@host/x`; other text stays."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if not separator or "@" not in authority:
        return url
    return f"{scheme}://***@{authority.rpartition('@')[2]}{slash}{path}"
