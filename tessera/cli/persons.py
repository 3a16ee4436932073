"""`tessera persons`: where else somebody was, and the end of an anonymous person."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from tessera.cli.as_json import echo_json
from tessera.cli.connection import connect, connection_options, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.cli.sightings import moment
from tessera.cli.words import person_text, threshold_text
from tessera.client.person_values import Appearance, AppearanceBasis, AppearancePage

_MOST_A_PAGE = 1000
_COLLECTION = click.option(
    "--collection", "collection_id", default="", metavar="ID", help='Of persons.  [default: "persons"]'
)


@click.group()
def persons() -> None:
    """Ask where else somebody was; erase an anonymous person."""


@persons.command("where")
@click.option("--tracklet", "tracklet_id", default="", metavar="ID", help="Whoever this tracklet shows.")
@click.option("--event", "event_id", default="", metavar="ID", help="Whoever this sighting tells of.")
@click.option("--person", "person_id", default="", metavar="ID", help="This anonymous person.")
@click.option(
    "--picture",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The one person in this picture.",
)
@_COLLECTION
@click.option("--camera", "camera_ids", multiple=True, metavar="NAME", help="Only of this camera; may be repeated.")
@click.option("--since", metavar="WHEN", help="From then on: 30m, 2h ago, or 2026-11-23T08:00.")
@click.option("--until", metavar="WHEN", help="Before then.")
@click.option("--fmr", type=float, metavar="RATE", help="Of looks at others, so many may be shown.  [the collection's]")
@click.option("--count", type=click.IntRange(min=1), default=100, show_default=True, metavar="N", help="At most.")
@click.option("--score", "with_score", is_flag=True, help="Show the scores too.")
@connection_options
def where(
    *,
    tracklet_id: str,
    event_id: str,
    person_id: str,
    picture: Path | None,
    collection_id: str,
    camera_ids: tuple[str, ...],
    since: str | None,
    until: str | None,
    fmr: float | None,
    count: int,
    with_score: bool,
) -> int:
    """Show where else a person was, newest first; who asked is in the audit log."""
    if sum(map(bool, (tracklet_id, event_id, person_id, picture))) != 1:
        allowed = "exactly one of --tracklet, --event, --person, --picture"
        raise Failure("who is meant is not said", field="--person", allowed=allowed, reason="USAGE")
    now, left, token = datetime.now(UTC), count, ""
    with connect() as tessera:
        while left:
            page = tessera.appearances(
                tracklet_id=tracklet_id,
                event_id=event_id,
                person_id=person_id,
                image=picture,
                collection_id=collection_id,
                since=moment("--since", since, now),
                until=moment("--until", until, now),
                camera_ids=camera_ids,
                target_fmr=fmr,
                with_score=with_score,
                page_size=min(left, _MOST_A_PAGE),
                page_token=token,
            )
            _tell(page, is_first=not token)
            left, token = left - len(page.appearances), page.next_page_token
            if not token:
                break
    return ExitCode.DONE


@persons.command("erase")
@click.argument("person_id", metavar="PERSON")
@_COLLECTION
@connection_options
def erase(person_id: str, collection_id: str) -> int:
    """Erase an anonymous person: every look at it, and its sightings."""
    with connect() as tessera:
        erased = tessera.erase_person(person_id, collection_id=collection_id)
    if wants_json():
        echo_json(erased)
    else:
        click.echo(f"{person_id}: {erased.looks_erased} looks and {erased.events_erased} events erased")
    return ExitCode.DONE


def _tell(page: AppearancePage, *, is_first: bool) -> None:
    if wants_json():
        for one in page.appearances:
            echo_json(one)
        return
    for one in page.appearances:
        click.echo(_line(one))
    if is_first and page.threshold is not None:
        click.echo(
            f"by appearance {threshold_text(page.threshold)}; {page.looks_compared} looks at others compared, "
            f"{page.expected_false:.2g} false ones to be expected; kept since {_local(page.kept_since)}",
            err=True,
        )


def _line(one: Appearance) -> str:
    how = {
        AppearanceBasis.ASKED: "asked",
        AppearanceBasis.SAME_PERSON: "same person",
        AppearanceBasis.LOOKS_ALIKE: "looks alike",
        None: "",
    }[one.basis]
    lasted_s = (one.last_seen - one.first_seen).total_seconds()
    columns = [_local(one.first_seen), f"{one.camera_id:<12}", f"{lasted_s:6.1f} s", f"{how:<12}"]
    columns += [person_text(one.person), ",".join(one.zones), one.best_shot_id]
    columns += [f"score {one.score:.4f}"] if one.score is not None else []
    return "  ".join(column for column in columns if column).rstrip()


def _local(at: datetime | None) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at is not None else ""
