"""Commands that check what was signed, without any service: their exit codes, and their mistakes told as such.

A finding must never look like a wrong option, nor the other way round: 0 nothing is wrong, 3 something is, 2 it could
not be checked (a wrong option, a file that cannot be read).
"""

from __future__ import annotations

from typing import Any

import click

from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.domain.errors import InvalidInputError

SOUND = ExitCode.DONE
FINDINGS = ExitCode.BAD_INPUT
NOT_CHECKED = ExitCode.UNDECIDED
EXIT_CODES_HELP = "Exit codes: 0 nothing is wrong; 3 there are findings; 2 it could not be checked."


class OfflineCheck(click.Command):
    """A command that ends with 0, 3 or 2, as this module's docstring says."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options; a wrong one ends the command with 2.

        Raises:
            Failure: an option is wrong or missing.
        """
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            text = error.format_message()
            raise Failure(text, exit_code=NOT_CHECKED, reason="USAGE", next_step=f"{ctx.command_path} --help") from None

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own
        """Run it.

        Raises:
            Failure: what was handed in cannot be read.
        """
        try:
            return super().invoke(ctx)
        except InvalidInputError as error:
            raise Failure(
                str(error), exit_code=NOT_CHECKED, field=error.field, value=str(error.value), allowed=error.allowed
            ) from None
