"""`tessera keys`: the file of keys that the gallery's store encrypts with. Shows their names, never a key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from tessera.chassis.key_files import EncryptionKey, add_key, read_key_file
from tessera.cli.as_json import echo_json
from tessera.cli.connection import json_option, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.domain.errors import AlreadyExistsError, InvalidInputError

_key_file = click.argument("path", metavar="FILE", type=click.Path(path_type=Path))


@click.group()
def keys() -> None:
    """Make and list the keys that templates are encrypted with.

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
