"""The entry of `tessera`. Imports a command's module when that command is called: help comes at once."""

from __future__ import annotations

import json
import os
import sys

import click

from tessera import __version__
from tessera.cli.exit_codes import EXIT_CODES_HELP, ExitCode
from tessera.cli.failure import Failure, facts_of
from tessera.cli.lazy_group import LazyCommand, LazyGroup

_COMMANDS = {
    "up": LazyCommand("tessera.cli.up", "up", "Start everything on this machine and show what is seen."),
    "enroll": LazyCommand("tessera.cli.subjects", "enroll", "Add pictures of a person."),
    "enroll-folder": LazyCommand(
        "tessera.cli.enroll_folder", "enroll_folder", "Add everybody out of a folder or a CSV."
    ),
    "verify": LazyCommand("tessera.cli.comparisons", "verify", "Is this the person who is enrolled as SUBJECT?"),
    "verify-jointly": LazyCommand(
        "tessera.cli.joint_verification", "verify_jointly", "Is this the person, by face and signature together?"
    ),
    "identify": LazyCommand("tessera.cli.comparisons", "identify", "Who is this, if anybody?"),
    "compare": LazyCommand("tessera.cli.comparisons", "compare", "Are these two the same person?"),
    "explain": LazyCommand("tessera.cli.explain", "explain", "What in a picture speaks for or against a match?"),
    "correct": LazyCommand("tessera.cli.correct", "correct", "Not this person, or this person after all."),
    "subjects": LazyCommand("tessera.cli.subjects", "subjects", "List, show, keep apart or erase people."),
    "collections": LazyCommand("tessera.cli.collections", "collections", "Make collections; say what holds in them."),
    "camera": LazyCommand("tessera.cli.cameras", "camera", "Add, list or remove cameras."),
    "encoder": LazyCommand("tessera.cli.encoders", "encoder", "Bring, list, load or unload encoders."),
    "alerts": LazyCommand("tessera.cli.alerts", "alerts", "List, acknowledge and resolve alerts."),
    "rules": LazyCommand("tessera.cli.rules", "rules", "Make and try the rules that open alerts."),
    "watch": LazyCommand("tessera.cli.watch", "watch", "Follow who is seen, as it happens."),
    "sightings": LazyCommand("tessera.cli.sightings", "sightings", "List who was seen; fetch best shots and clips."),
    "persons": LazyCommand("tessera.cli.persons", "persons", "Where else somebody was; erase an anonymous person."),
    "notifications": LazyCommand(
        "tessera.cli.notifications", "notifications", "Show who is told of alerts; try them; send again."
    ),
    "status": LazyCommand("tessera.cli.status", "status", "Show which services and cameras do their work."),
    "doctor": LazyCommand("tessera.cli.doctor", "doctor", "Say what is wrong, on one page without secrets."),
    "plan": LazyCommand("tessera.cli.plan", "plan", "Say how many cores and how much memory a site needs."),
    "export": LazyCommand("tessera.cli.collection_files", "export_collection", "Write a collection to a sealed file."),
    "import": LazyCommand("tessera.cli.collection_files", "import_collection", "Bring the people of a file in."),
    "backup": LazyCommand("tessera.cli.backup", "backup", "Write all collections to a folder."),
    "restore": LazyCommand("tessera.cli.backup", "restore", "Bring a backup back, without those erased since."),
    "calibrate": LazyCommand(
        "tessera.cli.calibrate", "calibrate", "Fit thresholds to error rates, choose which decide, write a report."
    ),
    "reembed": LazyCommand("tessera.cli.reembed", "reembed", "Move a collection to another encoder."),
    "keys": LazyCommand("tessera.cli.keys", "keys", "Make, list and rotate the keys of the store."),
    "store": LazyCommand("tessera.cli.store", "store", "Check, repair or migrate the store."),
    "lab": LazyCommand("tessera.cli.lab", "lab", "Train encoders from recipes, judge them, export them."),
    "audit": LazyCommand("tessera.cli.audit", "audit", "Check the audit log."),
    "receipt": LazyCommand("tessera.cli.receipt", "receipt", "Check a receipt of erasure."),
}

_HELP = """Tessera recognises people in pictures and camera streams.

Every answer is a decision at a stated error rate: FMR, how often two different people match, for one comparison;
FPIR, how often somebody who is not enrolled is taken for somebody who is, for a search.

\b
Start here:
  tessera up --demo                      everything, with a demonstration camera
  tessera up --camera rtsp://HOST/PATH   everything, with a camera of yours
  tessera enroll alice alice.jpg         add a person
  tessera verify alice door.jpg          ask about one
"""


@click.group(cls=LazyGroup, commands_by_name=_COMMANDS, help=_HELP, epilog=EXIT_CODES_HELP, no_args_is_help=True)
@click.version_option(__version__, prog_name="tessera")
def cli() -> None:
    """Stands before every command; does nothing itself."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: instead of those of the process.

    Returns:
        The exit code, as the help of `tessera` lists them.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        # Not `cli.main`: it ends the process with 1, our "no match", when the reader of the output has gone.
        with cli.make_context("tessera", list(arguments)) as context:
            code = cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("", err=True)
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        _show(error, as_json="--json" in arguments)
        # click's own code for a wrong option is 2, which here means "unknown".
        return error.ends_with if isinstance(error, Failure) else ExitCode.BAD_INPUT
    except BrokenPipeError:
        # `tessera watch | head`: Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    return code if isinstance(code, int) else ExitCode.DONE


def _show(error: click.ClickException, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"error": facts_of(error)}), err=True)
    else:
        error.show()


if __name__ == "__main__":
    sys.exit(main())
