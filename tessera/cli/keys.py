"""`tessera keys`: the file of keys that the gallery's store encrypts with, and which of them its values still need.

Shows their names, never a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tessera.chassis.key_files import EncryptionKey, add_key, read_key_file
from tessera.cli.as_json import echo_json
from tessera.cli.connection import collection_option, connect_files, connection_options, json_option, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.cli.instance_keys import prepare_gallery_keys, prepare_ingest_keys
from tessera.client.collection_files import Rotation
from tessera.domain.errors import AlreadyExistsError, InvalidInputError

_key_file = click.argument("path", metavar="FILE", type=click.Path(path_type=Path))


@click.group()
def keys() -> None:
    """Make, list and rotate the keys that templates are encrypted with.

    Who loses them loses every template: keep a copy of FILE, apart from the data.
    """


@keys.command("new")
@_key_file
@click.option("--last", is_flag=True, help="Open with it, and do not wrap yet; for several galleries.")
@json_option
def new_key(path: Path, last: bool) -> int:
    """Put a new key into FILE, which is made when there is none.

    The new key comes first: a gallery that starts with FILE wraps with it, and opens with all. No key goes from FILE.
    """
    try:
        made = add_key(path, datetime.now(UTC), last=last)
        known = read_key_file(path)
    except InvalidInputError as error:
        raise _failure(error) from None
    except AlreadyExistsError as error:
        raise _busy(error) from None
    if wants_json():
        echo_json({"file": str(path), "keys": _rows(known), "made": made.key_id})
    else:
        does = "wraps" if made == known[0] else "opens"
        click.echo(f"Made {made.key_id} in {path}; it {does}.")
        click.echo("Keep a copy of the file, apart from the data: without it every template is lost.", err=True)
    return ExitCode.DONE


_PREPARED = {"gallery": prepare_gallery_keys, "ingest": prepare_ingest_keys}


@keys.command("prepare")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--for", "service", type=click.Choice(list(_PREPARED)), required=True, help="Whose keys.")
def prepare(folder: Path, service: str) -> int:
    """Make the keys that a service needs, in FOLDER/keys; those that are there stay as they are.

    For whoever starts services one by one: containers, systemd. `tessera up` does it by itself. A gallery gets `kek`,
    `signing` and `signing.pub`, and FOLDER/audit for its checkpoints; a camera worker gets `evidence`.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _PREPARED[service](folder)
    except OSError as error:
        raise Failure(f"{folder} cannot be written to: {error}") from None
    click.echo(f"The keys of the {service} are in {folder / 'keys'}.")
    click.echo("Keep a copy of them, apart from the data: without them the data is lost.", err=True)
    return ExitCode.DONE


@keys.command("show")
@_key_file
@json_option
def show_keys(path: Path) -> int:
    """List the keys of FILE: id, fingerprint, day of making, and which of them wraps."""
    try:
        rows = _rows(read_key_file(path))
    except InvalidInputError as error:
        raise _failure(error) from None
    if wants_json():
        echo_json({"file": str(path), "keys": rows})
        return ExitCode.DONE
    width = max(len(str(row["key_id"])) for row in rows)
    for row in rows:
        does = "wraps" if row["wraps"] else "opens"
        click.echo(f"{row['key_id']:<{width}}  {row['fingerprint']}  {row['made_on'] or 'unknown':<10}  {does}")
    return ExitCode.DONE


@keys.command("rotate")
@collection_option
@connection_options
def rotate_keys(collection_id: str) -> int:
    """Put every value of a running gallery under the first key of its key file; without --collection, of all.

    Before: `tessera keys new FILE`, and start each gallery again. Nothing stops meanwhile. Broken off, call it again.
    """
    with connect_files() as files:
        last = _followed(files.rotate_keys(collection_id))
    if wants_json():
        echo_json({"values_done": last.done, "values_by_key": last.by_key})
        return ExitCode.DONE
    click.echo(f"Looked at {last.done:,} values.")
    click.echo(_by_key_text(last.by_key))
    if len(last.by_key) > 1:
        click.echo("Some were written under another key meanwhile: start each gallery again with the new file, then")
        click.echo("call this again.")
    return ExitCode.DONE


@keys.command("status")
@click.argument("path", metavar="[FILE]", type=click.Path(path_type=Path), required=False)
@connection_options
def key_status(path: Path | None) -> int:
    """Say how many values of a running gallery are under which key; with FILE, which line of it may go.

    Ends with 3 when values need a key that FILE does not have.
    """
    try:
        known = read_key_file(path) if path is not None else ()
    except InvalidInputError as error:
        raise _failure(error) from None
    with connect_files() as files:
        by_key = _followed(files.rotate_keys(count_only=True)).by_key
    missing = sorted(by_key.keys() - {key.fingerprint.hex() for key in known}) if path is not None else []
    if wants_json():
        rows = [{**row, "values": by_key.get(str(row["fingerprint"]), 0)} for row in _rows(known)]
        for row in rows:
            row["may_go"] = not row["wraps"] and not row["values"]
        echo_json({"values_by_key": by_key, "keys": rows, "missing": missing})
    elif path is None:
        click.echo(_by_key_text(by_key))
    else:
        click.echo(_status_text(known, by_key, missing))
    return ExitCode.BAD_INPUT if missing else ExitCode.DONE


def _followed(told: Iterator[Rotation]) -> Rotation:
    """Show a rotation on the terminal; gives its last word."""
    console = Console(stderr=True)
    columns = (TextColumn("Rotating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    last = Rotation(0, 0, {})
    with Progress(*columns, console=console, disable=wants_json() or not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        for last in told:
            progress.update(task, completed=last.done, total=last.total)
    return last


def _by_key_text(by_key: Mapping[str, int]) -> str:
    if not by_key:
        return "There are no values."
    return "\n".join(f"{fingerprint}  {count:>10,} values" for fingerprint, count in sorted(by_key.items()))


def _status_text(known: Sequence[EncryptionKey], by_key: Mapping[str, int], missing: Sequence[str]) -> str:
    width, lines = max(len(key.key_id) for key in known), []
    for key in known:
        count = by_key.get(key.fingerprint.hex(), 0)
        does = "wraps" if key == known[0] else "opens" if count else "opens nothing: its line may go"
        lines.append(f"{key.key_id:<{width}}  {key.fingerprint.hex()}  {count:>10,} values  {does}")
    lines += [f"{'not in FILE':<{width}}  {name}  {by_key[name]:>10,} values  put it back" for name in missing]
    if any("may go" in line for line in lines):
        lines.append(
            "It may go once every gallery was started with FILE as it is. Backups, exports and audit entries of its"
        )
        lines.append("time still need it: keep a copy for as long as you keep those.")
    return "\n".join(lines)


def _rows(known: Sequence[EncryptionKey]) -> list[dict[str, object]]:
    return [
        {
            "key_id": key.key_id,
            "fingerprint": key.fingerprint.hex(),
            "made_on": key.made_on.isoformat() if key.made_on else None,
            "wraps": key == known[0],
        }
        for key in known
    ]


def _failure(error: InvalidInputError) -> Failure:
    return Failure(str(error), field="FILE", value=str(error.value), allowed=error.allowed)


def _busy(error: AlreadyExistsError) -> Failure:
    return Failure(
        f"{error.id} exists: another call changes the keys now, or one was killed",
        field="FILE",
        value=error.id,
        next_step="try again; remove it when no other call runs",
        code="ALREADY_EXISTS",
        reason="KEYS_BUSY",
    )
