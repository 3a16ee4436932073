"""`tessera camera`: what is watched."""

from __future__ import annotations

import click

from tessera.cli.as_json import echo_json
from tessera.cli.camera_argument import absolute
from tessera.cli.connection import collection_option, connect, connection_options, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.zone_argument import parse_zones
from tessera.client.answers import Camera


@click.group()
def camera() -> None:
    """Add, list or remove cameras."""


@camera.command("add")
@click.argument("camera_id", metavar="NAME")
@click.argument("url", metavar="URL")
@click.option(
    "--rate",
    "sample_rate_hz",
    type=click.FloatRange(0, 30, min_open=True),
    default=5.0,
    show_default=True,
    metavar="HZ",
    help="Frames a second to look at.",
)
@click.option("--loop", is_flag=True, help="Files and folders: start again at the end.")
@click.option(
    "--zone", "zones", multiple=True, metavar="NAME=X,Y;X,Y;...", help="A place that sightings name; may be repeated."
)
@click.option(
    "--mask", "masks", multiple=True, metavar="X,Y;X,Y;...", help="Nothing is looked at inside it; may be repeated."
)
@click.option("--only-zones", is_flag=True, help="Look at nothing outside of the zones.")
@click.option(
    "--min-side",
    "min_side_px",
    type=click.IntRange(0, 10_000),
    default=0,
    show_default=True,
    metavar="PX",
    help="Smaller faces are not worth an embedding.",
)
@click.option(
    "--motion-gate/--no-motion-gate", default=True, show_default=True, help="Do not encode frames where nothing moves."
)
@click.option(
    "--watch-scene/--no-watch-scene",
    default=True,
    show_default=True,
    help="Tell when the camera is covered, defocused or moved, and when a thing is left or taken.",
)
@collection_option
@connection_options
def add_camera(
    camera_id: str,
    url: str,
    *,
    sample_rate_hz: float,
    loop: bool,
    zones: tuple[str, ...],
    masks: tuple[str, ...],
    only_zones: bool,
    min_side_px: int,
    motion_gate: bool,
    watch_scene: bool,
    collection_id: str,
) -> int:
    """Watch a camera from now on; it need not answer yet.

    URL is rtsp://, rtsps://, http://, https://, a file, v4l2:/dev/video0, folder:PATH or demo:. Write a password as
    ${NAME} to have it taken from the ingest's environment. Zones and masks are polygons in fractions of the picture's
    width and height: 0,0 is the upper left corner, 1,1 the lower right one.
    """
    with connect() as tessera:
        added = tessera.add_camera(
            camera_id,
            absolute(url),
            sample_rate_hz=sample_rate_hz,
            loop=loop,
            collection_id=collection_id,
            zones=parse_zones(zones, masks),
            only_zones=only_zones,
            min_side_px=min_side_px,
            motion_gate=motion_gate,
            watch_scene=watch_scene,
        )
    if wants_json():
        echo_json(added)
    else:
        click.echo(f"Watching {added.camera_id} at {added.url}. `tessera watch` shows who is seen.")
    return ExitCode.DONE


@camera.command("list")
@connection_options
def list_cameras() -> int:
    """List the cameras and how they do."""
    with connect() as tessera:
        found = list(tessera.cameras())
    if wants_json():
        echo_json({"cameras": found})
    elif not found:
        click.echo("There is no camera. `tessera camera add NAME URL` adds one.")
    else:
        click.echo("\n".join(camera_text(entry) for entry in found))
    return ExitCode.DONE


@camera.command("remove")
@click.argument("camera_id", metavar="NAME")
@connection_options
def remove_camera(camera_id: str) -> int:
    """Stop watching a camera and forget it."""
    with connect() as tessera:
        removed = tessera.remove_camera(camera_id)
    if wants_json():
        echo_json({"camera_id": camera_id, "removed": removed})
    else:
        click.echo(f"Removed {camera_id}." if removed else f"There was no camera {camera_id}; nothing to do.")
    return ExitCode.DONE


def camera_text(entry: Camera) -> str:
    """One camera on one line, and a second one when something is wrong with it."""
    status = entry.status
    if status is None:
        return f"{entry.camera_id:<16} {entry.url}"
    latency = f", {status.latency_ms:.0f} ms" if status.latency_ms is not None else ""
    line = (
        f"{entry.camera_id:<16} {status.state:<10} {entry.url}  "
        f"{status.frames_sampled} sampled, {status.frames_encoded} encoded, {status.frames_skipped} skipped, "
        f"{status.frames_expired} expired, {status.frames_failed} failed{latency}"
    )
    return line + (f"\n{'':<16} {status.detail}" if status.detail else "")
