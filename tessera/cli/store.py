"""`tessera store`: looks at the gallery's store when no gallery starts on it, mends it, or brings it to this schema.

It runs `python -m gallery_svc.store_upkeep` with the gallery's settings; this process never touches the store itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from tessera.chassis.clock import SystemClock
from tessera.cli.connection import json_option, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.cli.instance import locked_data_dir
from tessera.cli.offline_check import NOT_CHECKED, OfflineCheck
from tessera.cli.ports import ports_from, settle_ports
from tessera.cli.valkey import DURABILITY, Valkey, find_server, prepare_valkey

Command = TypeVar("Command", bound=Callable[..., Any])

EXIT_CODES_HELP = (
    "Exit codes: 0 all is whole; 3 something is not; 2 it could not be looked at; 4 the store does not answer."
)

_PREFIX = "TESSERA_GALLERY_"
_LOADED_WITHIN_S = 120.0
_PACE_S = 0.05


@click.group()
def store() -> None:
    """Check, repair or migrate the store of a gallery."""


def _store_options(command: Command) -> Command:
    options = (
        click.option(
            "--data-dir",
            metavar="DIR",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="The store of `tessera up` on this folder, whether that runs or not.",
        ),
        click.option(
            "--store", "url", metavar="URL", envvar=f"{_PREFIX}STORE", show_envvar=True, help="Where the store is."
        ),
        click.option(
            "--keys",
            metavar="FILE",
            envvar=f"{_PREFIX}KEYS",
            show_envvar=True,
            help="The key file of the gallery, or env:NAME.",
        ),
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


_collection = click.option("--collection", default="", metavar="ID", help="This one alone.  [default: all]")


@store.command("check", cls=OfflineCheck, epilog=EXIT_CODES_HELP)
@_collection
@_store_options
def check(collection: str, data_dir: Path | None, url: str | None, keys: str | None) -> int:
    """Read everything, and tell what no whole write leaves behind: a line each, with what to do. Changes nothing."""
    return _run("check", collection, data_dir, url, keys)


@store.command("repair", cls=OfflineCheck, epilog=EXIT_CODES_HELP)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_collection
@_store_options
def repair(yes: bool, collection: str, data_dir: Path | None, url: str | None, keys: str | None) -> int:
    """Mend what `check` tells. Who cannot be read whole is erased; all others stay, and every gallery loads again."""
    if not yes and not wants_json():
        click.confirm("Erase everybody whose data cannot be read whole? `tessera store check` names them", abort=True)
    return _run("repair", collection, data_dir, url, keys)


@store.command("migrate", cls=OfflineCheck, epilog=EXIT_CODES_HELP)
@_store_options
def migrate(data_dir: Path | None, url: str | None, keys: str | None) -> int:
    """Bring a store of an older version to this one's schema. No gallery may run on it meanwhile."""
    return _run("migrate", "", data_dir, url, keys)


def _run(action: str, collection: str, data_dir: Path | None, url: str | None, keys: str | None) -> int:
    arguments = [action, *(("--collection", collection) if collection else ()), *(("--json",) if wants_json() else ())]
    if data_dir is not None:
        with _instance_store(data_dir) as settings:
            return _upkeep(arguments, settings)
    if not url or not keys:
        named = "--data-dir, or --store and --keys"
        raise Failure(f"which store? {named}", exit_code=NOT_CHECKED, field="--store", allowed=named, reason="USAGE")
    # Whoever looks asks for no more durability than there is; a gallery does.
    durability = os.environ.get(f"{_PREFIX}DURABILITY", "everysec")
    return _upkeep(arguments, {"STORE": url, "KEYS": keys, "DURABILITY": durability})


def _upkeep(arguments: list[str], settings: Mapping[str, str]) -> int:
    environ = {**os.environ, **{_PREFIX + name: value for name, value in settings.items()}}
    # -P: the folder that the user stands in is not searched for modules.
    command = [sys.executable, "-P", "-m", "gallery_svc.store_upkeep", *arguments]
    sys.stdout.flush()
    code = subprocess.run(command, env=environ, check=False).returncode
    if code < 0:
        return ExitCode.INTERRUPTED
    return code


@contextmanager
def _instance_store(data_dir: Path) -> Iterator[Mapping[str, str]]:
    """Settings for the store of `tessera up`; it is run here while nobody else does.

    Raises:
        Failure: it cannot be started, or another instance is about to use it.
    """
    keys = {"KEYS": str(data_dir / "keys" / "kek"), "DURABILITY": DURABILITY}
    running = _last_valkey(data_dir)
    if running is not None and running.is_ready():
        yield {**keys, "STORE": running.url}
        return
    with locked_data_dir(data_dir):
        valkey = prepare_valkey(data_dir, settle_ports(ports_from(0, {}), SystemClock()).store)
        command = [str(find_server()), str(valkey.folder / "valkey.conf")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await_ready(valkey, process)
            yield {**keys, "STORE": valkey.url}
        finally:
            process.terminate()
            process.wait()


def _last_valkey(data_dir: Path) -> Valkey | None:
    """The store as the last instance set it up; None: there was none."""
    try:
        text = (data_dir / "valkey" / "valkey.conf").read_text(encoding="utf-8")
        lines = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
        return Valkey(int(lines["port"]), data_dir / "valkey", lines["requirepass"])
    except (OSError, KeyError, ValueError):
        return None


def _await_ready(valkey: Valkey, process: subprocess.Popen[bytes]) -> None:
    give_up_s = time.monotonic() + _LOADED_WITHIN_S
    while not valkey.is_ready():
        try:
            process.wait(_PACE_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() < give_up_s:
                continue
        raise Failure(
            f"the store in {valkey.folder} does not start",
            exit_code=NOT_CHECKED,
            field="--data-dir",
            value=str(valkey.folder.parent),
            allowed="the data folder of `tessera up`",
            next_step=f"{find_server()} {valkey.folder / 'valkey.conf'} tells why",
            code="FAILED_PRECONDITION",
            reason="STORE_DOES_NOT_START",
        )
