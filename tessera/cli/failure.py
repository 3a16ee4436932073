"""A failure as people and scripts read it: field, value, what is allowed, what to do next; and its exit code."""

from __future__ import annotations

from collections.abc import Mapping

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
        details: what else is known, each on a line of its own.
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
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.ends_with = exit_code
        self.details = dict(details or {})
        self.facts = {
            "code": code,
            "reason": reason,
            "field": field,
            "value": value,
            "allowed": allowed,
            "message": message,
            "next": next_step,
        }

    def format_message(self) -> str:
        """For people, after "Error: ": the sentence, and below it what helps."""
        rows = [f"  {name:<8} {self.facts[name]}" for name in _ROWS if self.facts[name]]
        details = [f"  {name:<8} {text}" for name, text in self.details.items()]
        return "\n".join([self.message, *details, *rows])


def facts_of(error: click.ClickException) -> dict[str, object]:
    """A failure for programs: the same keys whatever failed."""
    if isinstance(error, Failure):
        return {**error.facts, "details": error.details}
    return {**Failure(error.format_message(), reason="USAGE").facts, "details": {}}
