"""`tessera sightings`: who was seen, and the pictures of it."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from tessera.cli.as_json import echo_json
from tessera.cli.connection import connect, connection_options, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.cli.words import event_text
from tessera.domain.decision import Outcome

_AGO = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_OUTCOMES = (Outcome.MATCH, Outcome.UNKNOWN, Outcome.INCONCLUSIVE)


@click.group()
def sightings() -> None:
    """List who was seen; fetch best shots and clips."""


@sightings.command("list")
@click.option("--camera", "camera_id", default="", metavar="NAME", help="Only of this camera.")
@click.option("--subject", "subject_id", default="", metavar="ID", help="Only of this subject.")
@click.option("--collection", "collection_id", default="", metavar="ID", help="Only of this collection.")
@click.option("--outcome", type=click.Choice([outcome.value.lower() for outcome in _OUTCOMES]), help="Only these.")
@click.option("--since", metavar="WHEN", help="From then on: 30m, 2h, 3d ago, or 2026-11-23T08:00.")
@click.option("--until", metavar="WHEN", help="Before then.")
@click.option("--count", type=click.IntRange(min=1), default=100, show_default=True, metavar="N", help="At most.")
@connection_options
def list_sightings(
    *,
    camera_id: str,
    subject_id: str,
    collection_id: str,
    outcome: str | None,
    since: str | None,
    until: str | None,
    count: int,
) -> int:
    """List sightings, newest first; --json prints one object on a line, with the id of its best shot."""
    now = datetime.now(UTC)
    with connect() as tessera:
        found = tessera.sightings(
            collection_id=collection_id,
            camera_id=camera_id,
            subject_id=subject_id,
            outcome=Outcome(outcome.upper()) if outcome else None,
            since=moment("--since", since, now),
            until=moment("--until", until, now),
        )
        for event in itertools.islice(found, count):
            if wants_json():
                echo_json(event)
            else:
                shot = event.sighting.best_shot_id if event.sighting else ""
                click.echo(
                    f"{event.event_time.astimezone():%Y-%m-%d} {event_text(event)}" + (f"  {shot}" if shot else "")
                )
    return ExitCode.DONE


@sightings.command("shot")
@click.argument("shot_id", metavar="ID")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.jpg", required=True)
@connection_options
def fetch_shot(shot_id: str, output: Path) -> int:
    """Write the best shot of a sighting to a JPEG; its id stands in the sighting."""
    with connect() as tessera:
        shot = tessera.shot(shot_id)
    _write(output, shot.jpeg)
    if wants_json():
        echo_json({"shot_id": shot_id, "file": str(output), "capture_time": shot.capture_time})
    else:
        click.echo(f"{output}: seen at {shot.capture_time:%Y-%m-%d %H:%M:%S} UTC")
    return ExitCode.DONE


@sightings.command("clip")
@click.argument("clip_id", metavar="ID")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.avi", required=True)
@connection_options
def fetch_clip(clip_id: str, output: Path) -> int:
    """Write the clip around an event of a camera to an AVI file; its id stands in the event."""
    with connect() as tessera:
        clip = tessera.clip(clip_id)
    _write(output, clip)
    if wants_json():
        echo_json({"clip_id": clip_id, "file": str(output), "bytes": len(clip)})
    else:
        click.echo(f"{output}: {len(clip):,} bytes")
    return ExitCode.DONE


def moment(option: str, text: str | None, now: datetime) -> datetime | None:
    """A moment as people type it: so long ago, or a date and time; without a zone it is this machine's.

    Raises:
        Failure: it is neither.
    """
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        allowed = "30s, 30m, 2h or 3d for so long ago, or a moment such as 2026-11-23T08:00"
        raise Failure(f"{text} is no moment", field=option, value=text, allowed=allowed) from None


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        told = "a file in a folder that can be written"
        raise Failure(
            f"{path} cannot be written: {error.strerror}", field="-o", value=str(path), allowed=told
        ) from error
