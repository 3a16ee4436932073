"""`tessera notifications`: who is told of alerts, what never reached them, and whether they are told at all."""

from __future__ import annotations

import click

from tessera.cli.as_json import echo_json
from tessera.cli.connection import connect, connection_options, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.client.notifications import DeadLetter, NotificationTarget

_REASONS = ("EXPIRED", "GAVE_UP", "REFUSED", "HELD_BACK", "OVERFLOW", "NO_TARGET")

_target_option = click.option("--target", default="", metavar="NAME", help="Of this target alone.")
_reason_option = click.option(
    "--reason",
    default="",
    type=click.Choice(["", *_REASONS], case_sensitive=False),
    metavar="REASON",
    help=f"Of this reason alone: {', '.join(_REASONS)}.",
)


@click.group()
def notifications() -> None:
    """Show who is told of alerts, send again what never reached them, try a target."""


@notifications.command("targets")
@connection_options
def list_targets() -> int:
    """List who is told, and what waits for each."""
    with connect() as tessera:
        found = tessera.notification_targets()
    if wants_json():
        echo_json({"targets": found})
    elif not found:
        click.echo("Nobody is told. `tessera up --targets FILE` names the file of targets; docs/notifications.md.")
    else:
        click.echo("\n".join(_target_text(target) for target in found))
    return ExitCode.DONE


@notifications.command("dead")
@_target_option
@_reason_option
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@connection_options
def list_dead(target: str, reason: str, limit: int) -> int:
    """List what is tried no more, the newest first, with the reason."""
    with connect() as tessera:
        found = tessera.dead_letters(target=target, reason=reason.upper(), limit=limit)
    if wants_json():
        echo_json(found)
        return ExitCode.DONE
    for letter in found.letters:
        click.echo(_letter_text(letter))
    more = f" of {found.total}" if found.total > len(found.letters) else ""
    click.echo(f"{len(found.letters)}{more} dead letters.", err=True)
    return ExitCode.DONE


@notifications.command("replay")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@_target_option
@_reason_option
@connection_options
def replay(keys: tuple[str, ...], target: str, reason: str) -> int:
    """Send dead letters again: those with these KEYs, or all of a target or a reason.

    They come marked as replayed, under the keys that they had: nobody takes them for news, and a receiver that has one
    already knows it.
    """
    if not keys and not target and not reason:
        raise Failure(
            "nothing says which",
            field="KEY",
            allowed="keys, as `tessera notifications dead` shows, --target or --reason",
        )
    with connect() as tessera:
        count = tessera.replay_dead_letters(keys, target=target, reason=reason.upper())
    if wants_json():
        echo_json({"replayed": count})
    else:
        click.echo(f"Sent {count} again." if count else "None of these is dead; nothing to do.")
    return ExitCode.DONE


@notifications.command("test")
@click.argument("target", metavar="TARGET")
@connection_options
def test(target: str) -> int:
    """Send TARGET one message that is marked as a test, and tell how that went.

    Exit codes: 0 it was taken, 4 it was not.
    """
    with connect() as tessera:
        outcome = tessera.test_target(target)
    took_ms = 1000 * outcome.took.total_seconds()
    if wants_json():
        echo_json(outcome)
    elif outcome.delivered:
        click.echo(f"{target} took it after {took_ms:.0f} ms.")
    else:
        click.echo(f"{target} did not take it: {outcome.detail}")
    return ExitCode.DONE if outcome.delivered else ExitCode.UNAVAILABLE


def _target_text(target: NotificationTarget) -> str:
    waiting = f"{target.waiting} waiting" if target.waiting else "nothing waits"
    since = f" since {target.oldest:%Y-%m-%d %H:%M:%S} UTC" if target.oldest is not None else ""
    held = f", {target.held_back} held back" if target.held_back else ""
    return f"{target.name:<16} {target.type:<14} {waiting}{since}{held}"


def _letter_text(letter: DeadLetter) -> str:
    line = f"{letter.died_at:%Y-%m-%d %H:%M:%S}  {letter.reason:<10} {letter.key}  {letter.summary}"
    return line + (f"\n{'':<21}{letter.detail}" if letter.detail else "")
