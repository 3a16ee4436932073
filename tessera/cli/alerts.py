"""`tessera alerts`: what rules made of events, and what people do about it."""

from __future__ import annotations

import getpass
import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from tessera.cli.alert_text import alert_change_line, alert_line, alert_text
from tessera.cli.as_json import echo_json
from tessera.cli.connection import connect, connection_options, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.client.answers import Alert
from tessera.client.events import FROM_NOW, EventKind
from tessera.domain.alerting.alerts import AlertState
from tessera.domain.alerting.rules import Severity

Command = TypeVar("Command", bound=Callable[..., Any])

_TIME_FORMATS = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"]


def span_options(command: Command) -> Command:
    """Give a command --since and --until, in the time zone of this machine."""
    for name in ("until", "since"):
        told = "Then or later" if name == "since" else "Before"
        option = click.option(
            f"--{name}", type=click.DateTime(_TIME_FORMATS), metavar="TIME", help=f"{told}, local time."
        )
        command = option(command)
    return command


def actor_option(command: Command) -> Command:
    """Give a command --as, as its parameter `actor`: who is on record."""
    return click.option(
        "--as", "actor", default=getpass.getuser, metavar="NAME", help="Who you are.  [default: your login]"
    )(command)


def local(at: datetime | None) -> datetime | None:
    """A time without a zone as one of this machine's zone."""
    return at.astimezone() if at is not None else None


@click.group()
def alerts() -> None:
    """List, look at, acknowledge and resolve alerts."""


@alerts.command("list")
@click.option("--state", type=click.Choice([each.lower() for each in AlertState]), help="Only these.")
@click.option("--rule", "rule_id", default="", metavar="RULE", help="Only of this rule.")
@click.option("--severity", type=click.Choice([each.lower() for each in Severity]), help="This and worse.")
@span_options
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, metavar="N", help="So many at most."
)
@connection_options
def list_alerts(  # noqa: PLR0917 - click passes them by name
    state: str | None, rule_id: str, severity: str | None, since: datetime | None, until: datetime | None, limit: int
) -> int:
    """List alerts, newest first, one on a line."""
    with connect() as tessera:
        wanted = tessera.alerts(
            state=AlertState(state.upper()) if state else None,
            rule_id=rule_id,
            min_severity=Severity(severity.upper()) if severity else None,
            since=local(since),
            until=local(until),
        )
        found = list(itertools.islice(wanted, limit))
    if wants_json():
        echo_json({"alerts": found})
    elif not found:
        click.echo("No alerts. `tessera rules put FILE` makes the rules that open them.")
    else:
        click.echo("\n".join(map(alert_line, found)))
    return ExitCode.DONE


@alerts.command("show")
@click.argument("alert_id", metavar="ALERT")
@connection_options
def show_alert(alert_id: str) -> int:
    """Show one alert, and who did what about it."""
    with connect() as tessera:
        return _tell(tessera.get_alert(alert_id))


@alerts.command("ack")
@click.argument("alert_id", metavar="ALERT")
@click.option("--comment", default="", metavar="TEXT", help="Why; kept in clear: name nobody.")
@actor_option
@connection_options
def acknowledge_alert(alert_id: str, comment: str, actor: str) -> int:
    """Say that you look after an alert."""
    with connect() as tessera:
        return _tell(tessera.acknowledge_alert(alert_id, actor, comment))


@alerts.command("resolve")
@click.argument("alert_id", metavar="ALERT")
@click.option("--comment", default="", metavar="TEXT", help="Why; kept in clear: name nobody.")
@actor_option
@connection_options
def resolve_alert(alert_id: str, comment: str, actor: str) -> int:
    """Say that an alert is settled."""
    with connect() as tessera:
        return _tell(tessera.acknowledge_alert(alert_id, actor, comment, resolve=True))


@alerts.command("watch")
@click.option("--after", "after_cursor", default=FROM_NOW, metavar="CURSOR", help="Go on after an event seen earlier.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many.")
@connection_options
def watch_alerts(after_cursor: str, count: int | None) -> int:
    """Follow alerts as they open and change, until Ctrl-C."""
    as_json = wants_json()
    with connect() as tessera:
        events = tessera.watch(after_cursor=after_cursor, kinds=[EventKind.ALERT])
        for event in itertools.islice(events, count):
            if as_json:
                echo_json(event)
            elif event.alert is not None:
                click.echo(alert_change_line(event.alert, event.event_time))
    return ExitCode.DONE


def _tell(alert: Alert) -> int:
    if wants_json():
        echo_json(alert)
    else:
        click.echo(alert_text(alert))
    return ExitCode.DONE
