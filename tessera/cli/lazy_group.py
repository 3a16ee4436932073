"""A click group that knows its commands by name and line of help, and imports one only when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a command is, and what the list of commands says of it."""

    module: str
    attribute: str
    short_help: str


class LazyGroup(click.Group):
    """A group of commands that are imported at their first call.

    Args:
        commands_by_name: in the order in which help lists them.
        attrs: what `click.Group` takes.
    """

    def __init__(self, *, commands_by_name: Mapping[str, LazyCommand], **attrs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(**attrs)
        self._lazy = commands_by_name

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, in the order given."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        entry = self._lazy.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(importlib.import_module(entry.module), entry.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.short_help) for name, entry in self._lazy.items()])
