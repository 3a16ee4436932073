"""`tessera camera`: what is watched."""

from __future__ import annotations

from pathlib import Path

import click

from tessera.cli.as_json import echo_json
from tessera.cli.camera_argument import absolute
from tessera.cli.connection import collection_option, connect, connection_options, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.cli.stream_options import clock_text, stream_of, stream_options
from tessera.cli.zone_argument import parse_zones
from tessera.client.answers import Camera, CameraStatus
from tessera.domain.embedding import Modality

_WATCHED = {
    "faces": (Modality.FACE,),
    "persons": (Modality.PERSON,),
    "both": (Modality.FACE, Modality.PERSON),
}


@click.group()
def camera() -> None:
    """Add, change, look at or remove cameras."""


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
    "--min-face",
    "min_side_px",
    type=click.IntRange(0, 10_000),
    default=0,
    show_default=True,
    metavar="PX",
    help="Shorter side of the smallest face worth encoding.",
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
@click.option(
    "--watch",
    type=click.Choice(sorted(_WATCHED)),
    default="faces",
    show_default=True,
    metavar="WHAT",
    help="faces, persons or both.",
)
@click.option(
    "--person-collection",
    "person_collection_id",
    default="",
    metavar="ID",
    help='Where persons are looked for.  [default: "persons"]',
)
@stream_options
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
    watch: str,
    person_collection_id: str,
    transport: str | None,
    key_frames_only: bool | None,
    sub_stream_url: str | None,
    hardware_decode: bool | None,
    as_fast_as_possible: bool | None,
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
            stream=stream_of(transport, key_frames_only, sub_stream_url, hardware_decode, as_fast_as_possible),
            modalities=_WATCHED[watch],
            person_collection_id=person_collection_id,
        )
    if wants_json():
        echo_json(added)
    else:
        click.echo(f"Watching {added.camera_id} at {added.url}. `tessera watch` shows who is seen.")
    return ExitCode.DONE


@camera.command("update")
@click.argument("camera_id", metavar="NAME")
@click.option("--url", metavar="URL", help="Where it is.")
@click.option(
    "--rate",
    "sample_rate_hz",
    type=click.FloatRange(0, 30, min_open=True),
    metavar="HZ",
    help="Frames a second to look at.",
)
@click.option("--collection", "collection_id", metavar="ID", help="Where its people are looked for.")
@click.option(
    "--expires",
    "expires_after_s",
    type=click.FloatRange(0, 60, min_open=True),
    metavar="SECONDS",
    help="A frame older than this is of no use.",
)
@click.option(
    "--min-face",
    "min_side_px",
    type=click.IntRange(0, 10_000),
    metavar="PX",
    help="Shorter side of the smallest face worth encoding.",
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="In place of its labels; several times.")
@click.option(
    "--zone", "zones", multiple=True, metavar="NAME=X,Y;X,Y;...", help="In place of its zones and masks; several times."
)
@click.option("--mask", "masks", multiple=True, metavar="X,Y;X,Y;...", help="The same, for a mask.")
@click.option("--no-zones", is_flag=True, help="It has neither zones nor masks from now on.")
@click.option("--only-zones/--no-only-zones", default=None, help="Look at nothing outside of the zones, or do.")
@click.option("--motion-gate/--no-motion-gate", default=None, help="Do not encode frames where nothing moves, or do.")
@click.option("--watch-scene/--no-watch-scene", default=None, help="Tell of covered, defocused, moved cameras, or not.")
@click.option("--loop/--no-loop", default=None, help="Files and folders: start again at the end, or not.")
@click.option("--watch", type=click.Choice(sorted(_WATCHED)), help="What is looked for.")
@click.option("--person-collection", "person_collection_id", metavar="ID", help="Where persons are looked for.")
@stream_options
@connection_options
def update_camera(
    camera_id: str,
    *,
    url: str | None,
    sample_rate_hz: float | None,
    collection_id: str | None,
    expires_after_s: float | None,
    min_side_px: int | None,
    labels: tuple[str, ...],
    zones: tuple[str, ...],
    masks: tuple[str, ...],
    no_zones: bool,
    only_zones: bool | None,
    motion_gate: bool | None,
    watch_scene: bool | None,
    loop: bool | None,
    watch: str | None,
    person_collection_id: str | None,
    transport: str | None,
    key_frames_only: bool | None,
    sub_stream_url: str | None,
    hardware_decode: bool | None,
    as_fast_as_possible: bool | None,
) -> int:
    """Change a camera while it is watched; what is not given stays.

    --transport, --key-frames, --sub-stream, --hardware-decode and --fast go together: where one of them is given, the
    others are as at the first. Its labels, its collection, --expires and --min-face change under way; with anything
    else it is opened anew.
    """
    with connect() as tessera:
        changed = tessera.update_camera(
            camera_id,
            url=None if url is None else absolute(url),
            sample_rate_hz=sample_rate_hz,
            collection_id=collection_id,
            expires_after_s=expires_after_s,
            min_side_px=min_side_px,
            labels=_labels(labels) if labels else None,
            zones=parse_zones(zones, masks) if zones or masks or no_zones else None,
            only_zones=only_zones,
            motion_gate=motion_gate,
            watch_scene=watch_scene,
            loop=loop,
            stream=stream_of(transport, key_frames_only, sub_stream_url, hardware_decode, as_fast_as_possible),
            modalities=None if watch is None else _WATCHED[watch],
            person_collection_id=person_collection_id,
        )
    return _told_changed(changed, f"Changed {changed.camera_id}.")


@camera.command("enable")
@click.argument("camera_id", metavar="NAME")
@connection_options
def enable_camera(camera_id: str) -> int:
    """Watch a camera again that was disabled."""
    with connect() as tessera:
        return _told_changed(tessera.update_camera(camera_id, enabled=True), f"Watching {camera_id}.")


@camera.command("disable")
@click.argument("camera_id", metavar="NAME")
@connection_options
def disable_camera(camera_id: str) -> int:
    """Stop watching a camera, and keep it."""
    with connect() as tessera:
        changed = tessera.update_camera(camera_id, enabled=False)
    return _told_changed(changed, f"Watching {camera_id} no longer. `tessera camera enable {camera_id}` does again.")


@camera.command("status")
@click.argument("camera_id", metavar="NAME")
@connection_options
def camera_status(camera_id: str) -> int:
    """Tell how one camera does, and what became of its frames."""
    with connect() as tessera:
        status = tessera.camera_status(camera_id)
    if wants_json():
        echo_json(status)
    else:
        click.echo(status_text(status))
    return ExitCode.DONE


@camera.command("snapshot")
@click.argument("camera_id", metavar="NAME")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.jpg",
    help="Where it goes.  [default: NAME.jpg]",
)
@connection_options
def camera_snapshot(camera_id: str, output: Path | None) -> int:
    """Write the newest frame of a camera to a JPEG."""
    path = output or Path(f"{camera_id}.jpg")
    with connect() as tessera:
        snapshot = tessera.snapshot(camera_id)
    try:
        path.write_bytes(snapshot.jpeg)
    except OSError as error:
        raise Failure(
            f"{path} cannot be written: {error.strerror}",
            field="--output",
            value=str(path),
            allowed="a file in a folder that can be written",
        ) from error
    if wants_json():
        echo_json({"camera_id": camera_id, "file": str(path), "capture_time": snapshot.capture_time})
    else:
        click.echo(f"{path}: {camera_id} at {snapshot.capture_time:%Y-%m-%d %H:%M:%S} UTC")
    return ExitCode.DONE


@camera.command("accept-scene")
@click.argument("camera_id", metavar="NAME")
@connection_options
def accept_scene(camera_id: str) -> int:
    """Say that what a camera shows now is its scene, after somebody turned it on purpose."""
    with connect() as tessera:
        tessera.accept_scene(camera_id)
    if wants_json():
        echo_json({"camera_id": camera_id, "accepted": True})
    else:
        click.echo(f"{camera_id}: its scene is learned anew, in about sixteen seconds.")
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


def status_text(status: CameraStatus) -> str:
    """One camera on several lines: what it does, who watches it, and why which frames were not encoded."""
    frame = status.last_frame_time
    size = f", {status.width_px} x {status.height_px}" if status.width_px else ""
    latency = f", {status.latency_ms:.0f} ms to the encoder's answer" if status.latency_ms is not None else ""
    frames = (
        f"{status.frames_sampled} sampled: {status.frames_encoded} encoded, {status.frames_skipped} skipped, "
        f"{status.frames_expired} expired, {status.frames_failed} failed, {status.frames_in_flight} under way"
    )
    lines = [
        f"{status.camera_id}: {status.state}" + (f" ({status.detail})" if status.detail else ""),
        f"  newest frame  {frame:%Y-%m-%d %H:%M:%S} UTC{size}{latency}" if frame else "  newest frame  none yet",
        f"  frames        {frames}",
    ]
    lines += [f"    {count:>8} {reason}" for reason, count in sorted(status.skip_counts.items())]
    if status.scene:
        lines.append(f"  scene         {status.scene}")
    lines.append(f"  looked at     {status.sample_rate_hz:g} frames a second")
    lines.append(f"  people        {status.active_tracklets} in the picture")
    lines.append(f"  reconnects    {status.reconnects}")
    if status.clock is not None:
        lines.append(f"  clock         {clock_text(status.clock)}")
    if status.worker_address:
        lines.append(f"  watched by    {status.worker_address}, lease {status.lease_token}")
    if status.quarantined_pictures:
        lines.append(f"  quarantined   {status.quarantined_pictures} pictures that crashed whoever looked at them")
    return "\n".join(lines)


def _told_changed(changed: Camera, sentence: str) -> int:
    if wants_json():
        echo_json(changed)
    else:
        click.echo(sentence)
    return ExitCode.DONE


def _labels(pairs: tuple[str, ...]) -> dict[str, str]:
    wrong = next((pair for pair in pairs if "=" not in pair), None)
    if wrong is not None:
        raise Failure(f"--label {wrong}: there is no =", field="--label", value=wrong, allowed="KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)
