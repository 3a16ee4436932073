"""A failure as people and scripts read it: field, value, what is allowed, what to do next; and its exit code."""

from __future__ import annotations

import json
from typing import IO, Any

import click

from tessera.cli.exit_codes import ExitCode

_ROWS = ("field", "value", "allowed", "next")


class Failure(click.ClickException):
    """Ends a command.

    Args:
        message: what went wrong, as a sentence.
        exit_code: what the process ends with.
        field: what was wrong, as the caller knows it; empty when nothing was.
        value: what it held.
        allowed: what would have been right.
        next_step: what to do now.
        code: the canonical code.
        reason: what exactly.
        as_json: how it is shown.
    """

    def __init__(
        self,
        message: str,
        *,
        exit_code: ExitCode = ExitCode.BAD_INPUT,
        field: str = "",
        value: str = "",
        allowed: str = "",
        next_step: str = "",
        code: str = "INVALID_ARGUMENT",
        reason: str = "INVALID_FIELD",
        as_json: bool = False,
    ) -> None:
        super().__init__(message)
        self.ends_with = exit_code
        self.facts = {
            "code": code,
            "reason": reason,
            "field": field,
            "value": value,
            "allowed": allowed,
            "message": message,
            "next": next_step,
        }
        self._as_json = as_json

    def show(self, file: IO[Any] | None = None) -> None:
        """Write it, by default on standard error."""
        click.echo(json.dumps({"error": self.facts}) if self._as_json else self.format_message(), file=file, err=True)

    def format_message(self) -> str:
        """For people: the sentence, and below it what helps."""
        rows = [f"  {name:<8} {self.facts[name]}" for name in _ROWS if self.facts[name]]
        return "\n".join([f"Error: {self.message}", *rows])
