"""`tessera lab`: hands over to `python -m siamese_lab`, which this process becomes. Imports nothing of it."""

from __future__ import annotations

import importlib.util
import os
import sys

import click

from tessera.cli.failure import Failure

_NEEDED = ("torch", "yaml", "sklearn", "tensorboard")
"""Of the extra `lab`: what a training or an evaluation cannot go without."""


@click.command(
    "lab",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lab(arguments: tuple[str, ...]) -> None:
    """Train encoders from recipes, judge them, export them."""
    missing = [name for name in ("siamese_lab", *_NEEDED) if importlib.util.find_spec(name) is None]
    if missing:
        raise Failure(
            f"the lab is not installed: there is no {', '.join(missing)}",
            next_step="pip install 'tessera[lab]'",
            reason="NOT_INSTALLED",
        )
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "siamese_lab", *arguments])  # noqa: S606 - our own program
