"""`tessera watch`: events as they happen, for people or, one JSON object on a line, for programs."""

from __future__ import annotations

import itertools

import click

from tessera.cli.as_json import echo_json
from tessera.cli.connection import collection_option, connect, connection_options, wants_json
from tessera.cli.decisions import DecisionChanges
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.cli.words import event_text
from tessera.client.events import FROM_NOW, FROM_OLDEST


@click.command()
@click.option("--camera", "camera_ids", multiple=True, metavar="NAME", help="Only this camera; may be repeated.")
@click.option("--after", "after_cursor", default="", metavar="CURSOR", help="Go on after an event seen earlier.")
@click.option("--from-oldest", is_flag=True, help="Begin with the oldest event that is kept.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many events.")
@collection_option
@connection_options
def watch(
    camera_ids: tuple[str, ...], after_cursor: str, from_oldest: bool, count: int | None, collection_id: str
) -> int:
    """Follow who is seen, as it happens, until Ctrl-C.

    A connection that breaks is made again and goes on where it was. For people a line stands for a decision that is new
    or changed; --json prints every event, one object on a line, with its cursor.
    """
    if after_cursor and from_oldest:
        raise Failure("--after and --from-oldest exclude each other", field="--from-oldest", allowed="one of the two")
    start = FROM_OLDEST if from_oldest else after_cursor or FROM_NOW
    changes = DecisionChanges()
    as_json = wants_json()
    with connect() as tessera:
        events = tessera.watch(after_cursor=start, camera_ids=camera_ids, collection_id=collection_id)
        shown = (event for event in events if as_json or changes.is_new(event))
        for event in itertools.islice(shown, count):
            if as_json:
                echo_json(event)
            else:
                click.echo(event_text(event))
    return ExitCode.DONE
