"""The file of targets: YAML or JSON, every field checked, secrets by `${NAME}` out of the environment.

A field that nobody knows is refused: a misspelt `late` must not mean its default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import yaml

from gateway_svc.happenings import Kind, Severity
from gateway_svc.targets import Alertmanager, Apprise, Flood, Late, Mqtt, Only, Target, Way, Webhook
from tessera.chassis.settings import Secret
from tessera.domain.errors import InvalidInputError

E = TypeVar("E", bound=Enum)

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_KINDS = (Kind.ALERT, Kind.SIGHTING, Kind.CAMERA)


def read_targets(path: Path, environ: Mapping[str, str] | None = None) -> tuple[Target, ...]:
    """The targets of a file.

    Args:
        path: of YAML or JSON.
        environ: where `${NAME}` is looked up; the process's own by default.

    Raises:
        InvalidInputError: it cannot be read, or says what it may not; names the field, the value and what is allowed.
    """
    try:
        told = yaml.safe_load(path.expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError("targets", str(path), f"a file to read; {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
        raise InvalidInputError("targets", where, "YAML or JSON") from None
    return parse_targets(told, os.environ if environ is None else environ)


def parse_targets(told: object, environ: Mapping[str, str]) -> tuple[Target, ...]:
    """The targets of a file's content: `{"targets": [...]}`.

    Raises:
        InvalidInputError: as `read_targets` tells.
    """
    top = _Fields(told, "", environ)
    entries = top.take("targets", [])
    top.end()
    if not isinstance(entries, list):
        raise InvalidInputError("targets", entries, "a list")
    targets = tuple(_target(_Fields(entry, f"targets[{at}]", environ)) for at, entry in enumerate(entries))
    names = [target.name for target in targets]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise InvalidInputError(f"targets[{at}].name", name, "a name that no other target has")
    return targets


class _Fields:
    """The fields of one mapping, each taken once; what is left at the end is unknown."""

    def __init__(self, told: object, place: str, environ: Mapping[str, str]) -> None:
        if not isinstance(told, dict):
            raise InvalidInputError(place or "targets file", told, "a mapping of fields to values")
        self._left: dict[str, Any] = {str(name): value for name, value in told.items()}
        self._known: list[str] = []
        self.place = place
        self.environ = environ

    def named(self, field: str) -> str:
        """A field's name, as the file's reader finds it."""
        return f"{self.place}.{field}".lstrip(".")

    def take(self, field: str, default: Any = None) -> Any:  # noqa: ANN401 - whatever the file holds
        """A field's value."""
        self._known.append(field)
        return self._left.pop(field, default)

    def has(self, field: str) -> bool:
        """Whether it is there."""
        return field in self._left

    def text(self, field: str, default: str | None = None) -> str:
        """A text, each `${NAME}` in it replaced."""
        value = self.take(field, default)
        if not isinstance(value, str):
            raise InvalidInputError(self.named(field), Secret(value), "text")
        return self._filled(field, value)

    def number(self, field: str, default: float) -> float:
        """A number."""
        value = self.take(field, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidInputError(self.named(field), value, "a number")
        return value

    def flag(self, field: str, *, default: bool) -> bool:
        """True or false."""
        value = self.take(field, default)
        if not isinstance(value, bool):
            raise InvalidInputError(self.named(field), value, "true or false")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """A text, or a list of them."""
        value = self.take(field, [])
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
            raise InvalidInputError(self.named(field), Secret(value), "text, or a list of texts")
        return tuple(self._filled(field, one) for one in values)

    def choice(self, field: str, text: str, choices: Mapping[str, E]) -> E:
        """One of several words, in any case."""
        for word, chosen in choices.items():
            if str(text).lower() == word.lower():
                return chosen
        raise InvalidInputError(self.named(field), text, ", ".join(choices))

    def inner(self, field: str) -> _Fields | None:
        """A mapping inside this one; None: it is not there."""
        value = self.take(field)
        return None if value is None else _Fields(value, self.named(field), self.environ)

    def end(self) -> None:
        """Refuse what nobody took."""
        for field in self._left:
            raise InvalidInputError(self.named(field), Secret("unknown"), "one of " + ", ".join(sorted(self._known)))

    def _filled(self, field: str, text: str) -> str:
        def look_up(found: re.Match[str]) -> str:
            value = self.environ.get(found[1])
            if value is None:
                raise InvalidInputError(self.named(field), f"${{{found[1]}}}", "a variable that is set")
            return value

        return _VARIABLE.sub(look_up, text)


def _target(fields: _Fields) -> Target:
    ways: dict[str, Callable[[_Fields], Way]] = {
        "webhook": _webhook,
        "mqtt": _mqtt,
        "alertmanager": _alertmanager,
        "apprise": _apprise,
    }
    name, kind = fields.text("name"), fields.text("type")
    if kind not in ways:
        raise InvalidInputError(fields.named("type"), kind, ", ".join(ways))
    late = fields.text("late", Late.EXPIRE.value)
    try:
        target = Target(
            name=name,
            way=ways[kind](fields),
            only=_only(fields.inner("only")),
            late=fields.choice("late", late, {word.value: word for word in Late}),
            give_up_after_s=fields.number("give_up_after_s", 86_400.0),
            timeout_s=fields.number("timeout_s", 5.0),
            at_a_time=int(fields.number("at_a_time", 8)),
            flood=_flood(fields.inner("flood")),
        )
    except InvalidInputError as error:
        if error.field.startswith(fields.place):
            raise
        raise InvalidInputError(fields.named(error.field), error.value, error.allowed) from None
    fields.end()
    return target


def _webhook(fields: _Fields) -> Webhook:
    return Webhook(fields.text("url"), tuple(Secret(secret) for secret in fields.texts("secret")))


def _mqtt(fields: _Fields) -> Mqtt:
    tls = fields.flag("tls", default=False)
    return Mqtt(
        host=fields.text("host"),
        port=int(fields.number("port", 8883 if tls else 1883)),
        username=fields.text("username", ""),
        password=Secret(fields.text("password", "")),
        tls=tls,
        ca_file=fields.text("ca_file", ""),
        prefix=fields.text("prefix", "tessera"),
        discovery_prefix=fields.text("discovery_prefix", "homeassistant"),
    )


def _alertmanager(fields: _Fields) -> Alertmanager:
    return Alertmanager(
        url=fields.text("url"),
        username=fields.text("username", ""),
        password=Secret(fields.text("password", "")),
        lives_s=fields.number("lives_s", 86_400.0),
    )


def _apprise(fields: _Fields) -> Apprise:
    return Apprise(Secret(fields.text("url")))


def _only(fields: _Fields | None) -> Only:
    if fields is None:
        return Only()
    kinds = fields.texts("kinds") or (Kind.ALERT.value,)
    severity = fields.text("severity", Severity.NONE.name)
    only = Only(
        kinds=frozenset(fields.choice("kinds", kind, {one.value: one for one in _KINDS}) for kind in kinds),
        severity=fields.choice("severity", severity, {one.name: one for one in Severity}),
        cameras=frozenset(fields.texts("cameras")),
        rules=frozenset(fields.texts("rules")),
    )
    fields.end()
    return only


def _flood(fields: _Fields | None) -> Flood | None:
    if fields is None:
        return None
    flood = Flood(int(fields.number("messages", 20)), fields.number("per_s", 60.0))
    fields.end()
    return flood
