"""`tessera receipt`: checks a receipt of erasure; asks no service."""

from __future__ import annotations

from pathlib import Path

import click

from tessera.cli.as_json import echo_json, plain
from tessera.cli.connection import json_option, wants_json
from tessera.cli.offline_check import EXIT_CODES_HELP, FINDINGS, SOUND, OfflineCheck
from tessera.domain.errors import InvalidInputError
from tessera.trust.keys import PublicKeys
from tessera.trust.receipts import ErasureState, Receipt, ReceiptCheck, verify_receipt_file

_STATES = {
    ErasureState.ACCEPTED: "gone from the store and from the gallery that answered; the rest followed later",
    ErasureState.COMPLETE: "gone from the store, its files, and every live gallery",
}


@click.group()
def receipt() -> None:
    """Check a receipt of erasure."""


@receipt.command("verify", cls=OfflineCheck, epilog=EXIT_CODES_HELP)
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--key",
    "key_paths",
    required=True,
    multiple=True,
    metavar="PUB",
    type=click.Path(path_type=Path),
    help="Public signing keys (PEM), old ones too.",
)
@json_option
def verify(path: str, key_paths: tuple[Path, ...]) -> int:
    """Check that a receipt was signed by one of these keys, and show what it says. FILE - reads standard input."""
    check = verify_receipt_file(_text(path), PublicKeys.load(key_paths))
    if wants_json():
        echo_json({"sound": not check.findings, **plain(check)})
    else:
        click.echo("\n".join(check_lines(check)))
    return FINDINGS if check.findings else SOUND


def check_lines(check: ReceiptCheck) -> list[str]:
    """What came of a check, for people; what is not to be believed is not shown."""
    if check.findings or check.receipt is None:
        next_step = "do not rely on it; ask for the receipt again: tessera keeps it beside the audit log"
        return [f"{finding.fault.value}: {finding.detail}" for finding in check.findings] + [f"  next: {next_step}"]
    return _shown(check.receipt)


def _shown(found: Receipt) -> list[str]:
    erased = f"{found.templates_erased} templates, {found.pictures_erased} pictures, {found.events_erased} events"
    lines = [
        f"The receipt {found.receipt_id} is genuine.",
        f"  subject   {found.subject_id} of {found.collection_id}",
        f"  erased    {erased} at {found.erased_at:%Y-%m-%d %H:%M:%S} UTC",
        f"  state     {found.state.value}: {_STATES[found.state]}",
    ]
    if found.completed_at:
        lines.append(
            f"  complete  {found.completed_at:%Y-%m-%d %H:%M:%S} UTC, told by {found.replicas_confirmed} galleries"
        )
    return lines


def _text(path: str) -> str:
    try:
        with click.open_file(path, encoding="utf-8") as file:
            return str(file.read())
    except UnicodeDecodeError:
        raise InvalidInputError("FILE", path, "JSON, as a receipt was answered") from None
