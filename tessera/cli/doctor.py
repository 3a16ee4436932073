"""`tessera doctor`: everything that a support engineer would ask, on one page, with secrets left out."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click

from tessera import __version__
from tessera.chassis.pinned_files import default_cache_dir
from tessera.cli import doctor_machine, doctor_services
from tessera.cli.as_json import echo_json
from tessera.cli.connection import connect, connection_options, wants_json
from tessera.cli.doctor_page import Section, Weight, as_plain, as_text, findings_of
from tessera.cli.exit_codes import ExitCode
from tessera.cli.instance import DATA_DIR_VARIABLE, default_data_dir
from tessera.client import Tessera


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_data_dir,
    show_default="~/.local/share/tessera",
    envvar=DATA_DIR_VARIABLE,
    show_envvar=True,
    metavar="FOLDER",
    help="Of `tessera up`; its logs and its store are looked at.",
)
@click.option(
    "--store", default="", metavar="URL", help="The store.  [default: what the services here are told, or FOLDER's own]"
)
@connection_options
def doctor(data_dir: Path, store: str) -> int:
    """Look at everything once and say what is wrong, for yourself and for whoever helps you.

    The page names no person, no collection and no camera, and shows no password, key, token or address of a camera:
    it can be sent to others as it is. Read it before you do.

    Exit codes: 0 nothing is wrong, 4 something is.
    """
    with connect() as tessera:
        sections = examined(tessera, data_dir, store)
    headline = f"tessera doctor, release {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    if wants_json():
        echo_json(as_plain(sections, headline))
    else:
        click.echo(as_text(sections, headline))
    wrong = any(finding.weight is Weight.WRONG for finding in findings_of(sections))
    return ExitCode.UNAVAILABLE if wrong else ExitCode.DONE


def examined(tessera: Tessera, data_dir: Path, store: str) -> list[Section]:
    """Every section of the page."""
    cache_dir = default_cache_dir()
    facts = doctor_services.store(doctor_services.store_url(store, os.environ, data_dir))
    folders = {"data": data_dir, "weights": cache_dir, "temporary files": Path(tempfile.gettempdir())}
    witnesses = [data_dir / "instance.json", *data_dir.glob("logs/*.log"), *cache_dir.glob("converted/*")]
    return [
        doctor_services.services(tessera),
        facts.section,
        doctor_services.encoders(tessera),
        doctor_services.people(tessera),
        doctor_services.cameras(tessera),
        doctor_machine.disks(folders),
        doctor_machine.clock(witnesses, facts.now, datetime.now(UTC)),
        doctor_machine.weights(cache_dir),
        doctor_machine.machine(),
        doctor_machine.releases(),
        doctor_machine.settings(os.environ),
        doctor_machine.logs(data_dir / "logs"),
    ]
