"""Options with which somebody chooses what follows: `--duplicates`, `--outliers`."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import click

from tessera.client.answers import DuplicatePolicy, OutlierPolicy

Command = TypeVar("Command", bound=Callable[..., Any])


def duplicates_option(command: Command) -> Command:
    """Give a command --duplicates, as its parameter `duplicate_policy`: a `DuplicatePolicy`, or None."""
    text = "When they are of somebody else who is enrolled.  [default: what the collection says, at first report]"
    return _choice("--duplicates", "duplicate_policy", DuplicatePolicy, text)(command)


def outliers_option(command: Command) -> Command:
    """Give a command --outliers, as its parameter `outlier_policy`: an `OutlierPolicy`, or None."""
    text = (
        "When a picture does not look like the person's others.  [default: what the collection says, at first reject]"
    )
    return _choice("--outliers", "outlier_policy", OutlierPolicy, text)(command)


def typed(member: StrEnum) -> str:
    """A choice as people type it: KEEP_APART as `keep-apart`."""
    return member.value.lower().replace("_", "-")


def _choice(flag: str, name: str, kind: type[StrEnum], text: str) -> Callable[[Command], Command]:
    members = {typed(member): member for member in kind}

    def chosen(_context: click.Context, _parameter: click.Parameter, value: str | None) -> StrEnum | None:
        return members[value] if value is not None else None

    return click.option(flag, name, type=click.Choice(list(members), case_sensitive=False), callback=chosen, help=text)
