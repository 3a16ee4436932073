"""`export`: an encoder of a run."""

from __future__ import annotations

from pathlib import Path

import click

from siamese_lab.commands.judging import data_of
from siamese_lab.commands.options import cache_option, data_option
from siamese_lab.export import export_run
from siamese_lab.training.run_folder import RunFolder


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", required=True, help="Of the encoder, such as face-mine-1.")
@click.option("--licence", required=True, help="SPDX identifier of the weights' licence; the data has a say in it.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default="encoders",
    show_default=True,
    help="Gets a folder of that name.",
)
@data_option
@cache_option
def export(*, run: Path, name: str, licence: str, into: Path, data: Path, cache: Path | None) -> None:
    """Make an encoder of RUN: a folder that the service loads and `tessera encoder import` takes."""
    folder = RunFolder.open(run)
    made = export_run(folder, data_of(folder, data, cache), name, licence, into)
    click.echo(f"{made.manifest.model_id} in {made.folder}, calibration {made.calibration.calibration_id}")
    click.echo(f"`tessera encoder import {made.folder}` brings it to the services of this machine.")
