"""How a camera's stream is read, as the command line says it; and its clock, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tessera.client.answers import CameraClock, ClockKind, StreamOptions, Transport

Command = Callable[..., Any]

_OPTIONS = (
    click.option(
        "--transport",
        type=click.Choice([transport.value.lower() for transport in Transport]),
        help="RTSP: packets within the connection (tcp, the default), or beside it.",
    ),
    click.option(
        "--key-frames",
        "key_frames_only",
        is_flag=True,
        default=None,
        help="Decode key frames alone: one each second or two.",
    ),
    click.option(
        "--sub-stream",
        "sub_stream_url",
        metavar="URL",
        help="The camera's smaller stream, to be looked at instead; where it does not open, URL is read.",
    ),
    click.option("--hardware-decode", is_flag=True, default=None, help="Decode on a device where there is one."),
    click.option(
        "--fast",
        "as_fast_as_possible",
        is_flag=True,
        default=None,
        help="Files: not in their own time, and no frame left out.",
    ),
)
_CLOCKS = {
    ClockKind.ARRIVAL: "frames are captured when they arrive: the stream has no clock",
    ClockKind.STREAM: "the stream's own",
    ClockKind.SENDER: "the sender's",
    ClockKind.FILE: "a recording's own",
}


def stream_options(command: Command) -> Command:
    """Give a command the options of a stream, each its own parameter, named as in `StreamOptions`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def stream_of(
    transport: str | None,
    key_frames_only: bool | None,
    sub_stream_url: str | None,
    hardware_decode: bool | None,
    as_fast_as_possible: bool | None,
) -> StreamOptions | None:
    """How a stream is read, of the options' values; None: not one of them was given."""
    if {transport, key_frames_only, sub_stream_url, hardware_decode, as_fast_as_possible} == {None}:
        return None
    return StreamOptions(
        Transport((transport or Transport.TCP).upper()),
        bool(key_frames_only),
        sub_stream_url or "",
        bool(hardware_decode),
        bool(as_fast_as_possible),
    )


def clock_text(clock: CameraClock) -> str:
    """Where capture times come from, and how well."""
    text = _CLOCKS[clock.kind]
    if clock.kind in (ClockKind.STREAM, ClockKind.SENDER) and clock.drift_ppm:
        text += f", drift {clock.drift_ppm:+.0f} ppm"
    if clock.sender_offset_s is not None:
        is_believed = clock.kind is ClockKind.SENDER
        text += f", the sender's is {clock.sender_offset_s:+.3f} s from ours" + (
            "" if is_believed else ": not believed"
        )
    if clock.host_clock_jumps:
        text += f", our wall clock jumped {clock.host_clock_jumps} times"
    return text
