"""Options of a network or a loss, read strictly: an unknown name or kind is refused before anything is made.

An option is a keyword-only parameter of the class that it configures; there is no second list of them. What a value may
be beyond its kind (a margin above 0, an even number) is for that class to say.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, get_type_hints

from tessera.domain.errors import InvalidInputError

Option = int | float | str | bool
"""What a recipe can write down."""


def option_names(made_by: Callable[..., object]) -> tuple[str, ...]:
    """The options of a class, in the order in which it declares them."""
    parameters = inspect.signature(made_by).parameters.values()
    return tuple(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)


def read_options(made_by: Callable[..., object], options: Mapping[str, Option], field: str) -> dict[str, Any]:
    """Read options for a class.

    Args:
        made_by: the class; its options are its keyword-only parameters of kind int, float, bool, str or StrEnum.
        options: by name; those that are missing keep their defaults.
        field: what holds them, for the errors.

    Returns:
        The same options, each of the kind that the class wants.

    Raises:
        InvalidInputError: the class has no such option, or it is of another kind.
    """
    known = option_names(made_by)
    kinds = get_type_hints(made_by.__init__ if inspect.isclass(made_by) else made_by)
    for name in options:
        if name not in known:
            raise InvalidInputError(f"{field}.{name}", options[name], f"one of {', '.join(known) or 'no options'}")
    return {name: _as_kind(kinds[name], value, f"{field}.{name}") for name, value in options.items()}


def _as_kind(kind: Any, value: Option, field: str) -> Option:  # noqa: ANN401 - a type of any kind
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        if value not in list(kind):
            raise InvalidInputError(field, value, f"one of {', '.join(kind)}")
        return kind(str(value))
    # bool is an int to Python and not to whoever writes a recipe
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise InvalidInputError(field, value, _KINDS[kind])
    return value


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def require_between(field: str, value: float, low: float, high: float) -> None:
    """Refuse a number out of range.

    Raises:
        InvalidInputError: it is not from `low` to `high`, or not a number.
    """
    if not low <= value <= high:
        raise InvalidInputError(field, value, f"from {low:g} to {high:g}")


def require_above(field: str, value: float, low: float, high: float) -> None:
    """Refuse a number that is not above `low` and at most `high`.

    Raises:
        InvalidInputError: it is not.
    """
    if not low < value <= high:
        raise InvalidInputError(field, value, f"above {low:g}, at most {high:g}")
