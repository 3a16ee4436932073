"""`tessera rules`: which events are worth an alert, and what rules would have made of what happened."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from tessera.cli.alert_text import rehearsal_text, rule_line
from tessera.cli.alerts import actor_option, local, span_options
from tessera.cli.as_json import echo_json
from tessera.cli.connection import connect, connection_options, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.cli.rule_file import read_rules, rule_as_file
from tessera.client.answers import RuleTest, StoredRule
from tessera.client.recorded_events import read_happenings
from tessera.client.rehearsed import rehearsal_told
from tessera.domain.alerting.rehearsal import Rehearser
from tessera.domain.alerting.rule_text import rule_to
from tessera.domain.alerting.rules import Rule
from tessera.domain.errors import InvalidInputError

_file = click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group()
def rules() -> None:
    """List, make, change, delete and try the rules that open alerts."""


@rules.command("list")
@connection_options
def list_rules() -> int:
    """List all rules, one on a line."""
    with connect() as tessera:
        found = tessera.rules()
    if wants_json():
        echo_json({"rules": [_plain(each) for each in found]})
    elif not found:
        click.echo("No rules: nothing opens an alert. `tessera rules put FILE` makes some; docs/alerts.md has three.")
    else:
        click.echo("\n".join(map(rule_line, found)))
    return ExitCode.DONE


@rules.command("show")
@click.argument("rule_id", metavar="RULE")
@click.option(
    "--revision", type=click.IntRange(min=1), default=None, metavar="N", help="As it was.  [default: the newest]"
)
@connection_options
def show_rule(rule_id: str, revision: int | None) -> int:
    """Show a rule, as a file would have it."""
    with connect() as tessera:
        stored = tessera.get_rule(rule_id, revision=revision or 0)
    if wants_json():
        echo_json(_plain(stored))
    else:
        by = f" by {stored.actor}" if stored.actor else ""
        click.echo(f"# revision {stored.revision}, {stored.updated_at.astimezone():%Y-%m-%d %H:%M:%S}{by}")
        click.echo(rule_as_file(stored.rule))
    return ExitCode.DONE


@rules.command("put")
@_file
@actor_option
@connection_options
def put_rules(path: Path, actor: str) -> int:
    """Make the rules of a file, or change them; others stay. They hold for what happens from now on."""
    wanted = read_rules(path)
    with connect() as tessera:
        stored = [tessera.put_rule(rule, actor=actor) for rule in wanted]
    if wants_json():
        echo_json({"rules": [_plain(each) for each in stored]})
    else:
        click.echo("\n".join(map(rule_line, stored)))
    return ExitCode.DONE


@rules.command("delete")
@click.argument("rule_id", metavar="RULE")
@actor_option
@connection_options
def delete_rule(rule_id: str, actor: str) -> int:
    """Take a rule out; the alerts that it opened stay."""
    with connect() as tessera:
        stored = tessera.delete_rule(rule_id, actor=actor)
    if wants_json():
        echo_json(_plain(stored))
    else:
        click.echo(f"Deleted {rule_id}.")
    return ExitCode.DONE


@rules.command("test")
@_file
@click.option(
    "--events",
    "events_path",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Lines of `tessera watch --json`, or - for those of the standard input; no service is asked.  "
    "[default: the gallery's own log]",
)
@span_options
@connection_options
def test_rules(path: Path, events_path: Path | None, since: datetime | None, until: datetime | None) -> int:
    """Tell which alerts the rules of a file would have opened, and why; none is opened.

    On recorded events (`tessera watch --json --from-oldest > events.jsonl`), or on those that the gallery still has.
    """
    wanted = read_rules(path)
    if events_path is not None:
        tried = _tried(wanted, events_path, local(since), local(until))
    else:
        with connect() as tessera:
            tried = tessera.test_rules(wanted, since=local(since), until=local(until))
    if wants_json():
        echo_json(tried)
    else:
        click.echo(rehearsal_text(tried))
    return ExitCode.DONE


def _tried(wanted: list[Rule], events_path: Path, since: datetime | None, until: datetime | None) -> RuleTest:
    rehearser = Rehearser(wanted)
    with click.open_file(str(events_path), encoding="utf-8") as lines:
        try:
            for happening in read_happenings(lines):
                if since is not None and happening.recorded_s < since.timestamp():
                    continue
                if until is not None and happening.recorded_s >= until.timestamp():
                    continue
                rehearser.take(happening)
        except InvalidInputError as error:
            raise Failure(str(error), field=error.field, allowed=error.allowed) from None
    return rehearsal_told(rehearser.finished())


def _plain(stored: StoredRule) -> dict[str, object]:
    """A rule with what the service knows of it; the rule as its file has it."""
    return {
        "rule": rule_to(stored.rule),
        "revision": stored.revision,
        "updated_at": stored.updated_at,
        "actor": stored.actor,
        "deleted": stored.deleted,
    }
