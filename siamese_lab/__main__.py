"""`python -m siamese_lab`, or `tessera lab`: train from recipes, judge, export, and make the table of the papers."""

from __future__ import annotations

import sys

import click

from tessera.cli.exit_codes import ExitCode
from tessera.cli.lazy_group import LazyCommand, LazyGroup
from tessera.domain.errors import TesseraError

_COMMANDS = {
    "list": LazyCommand("siamese_lab.commands.recipes", "list_recipes", "List the recipes that ship."),
    "show": LazyCommand("siamese_lab.commands.recipes", "show_recipe", "Show a recipe with all defaults."),
    "train": LazyCommand("siamese_lab.commands.training", "train", "Train what a recipe says."),
    "evaluate": LazyCommand("siamese_lab.commands.judging", "evaluate", "Measure what a run gave."),
    "report": LazyCommand("siamese_lab.commands.judging", "report", "Write a run's report as a page."),
    "export": LazyCommand("siamese_lab.commands.exporting", "export", "Make an encoder of a run."),
    "adapt": LazyCommand(
        "siamese_lab.adaptation.command",
        "command",
        "Fit a head to a deployment's own templates, if it helps people never seen.",
    ),
    "reid": LazyCommand("siamese_lab.commands.reid", "reid", "Judge a person encoder on a standard set."),
    "speed": LazyCommand("siamese_lab.commands.papers", "speed", "Time two runs on the same pictures."),
    "papers": LazyCommand("siamese_lab.commands.papers", "papers", "Make the table of the papers from run folders."),
}

_HELP = """The Siamese lab: the papers' systems from one recipe each, and encoders of your own.

\b
Start here:
  tessera lab list                                     the recipes
  tessera lab train sn-lenet5-mnist --data DIR --limit 2000 --epochs 2
  tessera lab report runs/sn-lenet5-mnist/seed-0       what it is worth, as a page
"""


@click.group(cls=LazyGroup, commands_by_name=_COMMANDS, help=_HELP, no_args_is_help=True)
def lab() -> None:
    """Stands before every command; does nothing itself."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: instead of those of the process.

    Returns:
        The exit code: 0 done, 3 bad input, 130 interrupted.
    """
    try:
        lab.main(arguments, prog_name="tessera lab", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return ExitCode.BAD_INPUT
    except TesseraError as error:
        click.echo(f"Error: {error}", err=True)
        return ExitCode.BAD_INPUT
    except (click.Abort, KeyboardInterrupt):
        click.echo("Broken off; the same command goes on from the last epoch.", err=True)
        return ExitCode.INTERRUPTED
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
