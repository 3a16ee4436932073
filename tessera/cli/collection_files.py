"""`tessera export` and `tessera import`: a collection as one sealed file, out of a gallery and into one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from tessera.cli.as_json import echo_json, plain
from tessera.cli.connection import collection_option, connect_files, connection_options, wants_json
from tessera.cli.erased_since import erasures_of, signed_receipts
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.cli.transfer import Counted, progress_bar, written_whole
from tessera.client.collection_files import ExportResult, FileFacts, ImportResult, file_facts
from tessera.domain.errors import InvalidInputError
from tessera.trust.keys import PublicKeys

key_id_option = click.option(
    "--key-id", default="", metavar="ID", help="A line of the gallery's key file.  [default: its first]"
)
receipts_option = click.option(
    "--receipts",
    "folders",
    multiple=True,
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of checkpoints: who was erased since stays out. Twice for both copies.",
)
public_key_option = click.option(
    "--key",
    "key_paths",
    multiple=True,
    metavar="PUB",
    type=click.Path(path_type=Path),
    help="Public signing keys (PEM) of the receipts, old ones too.",
)


@click.command("export")
@click.argument("path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--with-pictures", is_flag=True, help="With the pictures that the collection keeps.")
@click.option("--force", is_flag=True, help="Replace FILE.")
@key_id_option
@collection_option
@connection_options
def export_collection(path: Path, with_pictures: bool, force: bool, key_id: str, collection_id: str) -> int:
    """Write a collection to FILE: records and templates, sealed under the gallery's key.

    Only a gallery that has that key reads it. The gallery works on meanwhile. Whoever is erased later is still in FILE.
    """
    if path.exists() and not force:
        raise Failure(
            f"{path} is there already", field="FILE", value=str(path), allowed="a new file, or --force to replace it"
        )
    with connect_files() as files, progress_bar(hidden=wants_json()) as progress, written_whole(path) as file:
        bar = Counted(file, progress, progress.add_task("Exporting", total=None))
        result = files.export_to(bar, collection_id, key_id=key_id, with_pictures=with_pictures)
    facts = facts_in(path)
    if wants_json():
        echo_json({"file": str(path), **plain(result), **plain(facts)})
    else:
        click.echo(_export_text(path, result, facts))
    return ExitCode.DONE


@click.command("import")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--collection", "collection_id", default="", metavar="ID", help="Into which.  [default: the file's own]")
@receipts_option
@public_key_option
@connection_options
def import_collection(path: Path, collection_id: str, folders: tuple[Path, ...], key_paths: tuple[Path, ...]) -> int:
    """Bring the subjects of FILE into a collection, which is made when there is none.

    Nothing is written before all of FILE is proved. The same file again writes what is not there yet, and nothing
    twice. Whoever is there already keeps what is said of them, and gets the templates that they lack.
    """
    facts = facts_in(path)
    into = collection_id or facts.collection_id
    erased = erased_in(folders, key_paths).get(facts.collection_id, {})
    result = send(path, into, erased)
    if wants_json():
        echo_json({"file": str(path), "collection_id": into, **plain(result)})
    else:
        click.echo(import_text(path, into, result))
    return ExitCode.DONE


def erased_in(folders: tuple[Path, ...], key_paths: tuple[Path, ...]) -> dict[str, dict[str, datetime]]:
    """Who was erased, as these folders' receipts say; nobody when there are none.

    Raises:
        Failure: they cannot be believed.
        InvalidInputError: a file cannot be read.
    """
    if not folders:
        return {}
    if not key_paths:
        raise Failure("receipts need --key, the public key that they were signed with", field="--key")
    try:
        keys = PublicKeys.load(key_paths)
        return erasures_of(signed_receipts(folders, keys), keys)
    except InvalidInputError as error:
        raise Failure(str(error), field=error.field, value=str(error.value), allowed=error.allowed) from None


def send(path: Path, into: str, erased: dict[str, datetime]) -> ImportResult:
    """Import a file.

    Raises:
        Failure: the gallery refused it, or it cannot be read.
    """
    with connect_files() as files, progress_bar(hidden=wants_json()) as progress, path.open("rb") as file:
        task = progress.add_task(f"Importing {path.name}", total=path.stat().st_size)
        return files.import_from(Counted(file, progress, task), into, erased=erased)


def facts_in(path: Path) -> FileFacts:
    """What an export file says of itself.

    Raises:
        Failure: it is none, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file_facts(file)
    except InvalidInputError as error:
        raise Failure(f"{path} is not an export file", field="FILE", value=str(path), allowed=error.allowed) from None
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", field="FILE", value=str(path)) from None


def import_text(path: Path, into: str, result: ImportResult) -> str:
    """What became of a file, for people."""
    text = f"Imported {path} into {into}: {result.subjects} subjects with {result.templates} templates"
    text += "; all of them were there already" if result.replayed and result.subjects else ""
    return text + (f"; {result.left_out} were erased since, and stayed out" if result.left_out else "")


def _export_text(path: Path, result: ExportResult, facts: FileFacts) -> str:
    size = f"{result.size_bytes / 1e6:,.1f} MB"
    return "\n".join(
        [
            f"Exported {facts.collection_id} to {path}: {facts.subjects} subjects, {facts.templates} templates, {size}",
            f"  sha256  {result.sha256}",
            f"  key     {facts.key_id}: without that line of the key file nobody can read it",
        ]
    )
