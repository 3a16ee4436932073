"""`tessera up`: the options, and the hand-over to `instance_run`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tessera.cli.camera_argument import parse_cameras
from tessera.cli.connection import json_option, wants_json
from tessera.cli.instance import DATA_DIR_VARIABLE, default_data_dir
from tessera.cli.instance_run import run_instance
from tessera.cli.ports import DEFAULT_BASE_PORT, HIGHEST_BASE_PORT, PORT_NAMES, option_name, ports_from
from tessera.cli.up_options import UpOptions, ViewKind

Command = TypeVar("Command", bound=Callable[..., Any])

_PORTS_KEY = "tessera.ports"


def _keep_port(context: click.Context, parameter: click.Parameter, value: int | None) -> None:
    if value is not None and parameter.name is not None:
        context.meta.setdefault(_PORTS_KEY, {})[parameter.name.removesuffix("_port")] = value


def port_options(command: Command) -> Command:
    """Give a command one option for each port; they are kept for `ports_from`."""
    for name in reversed(PORT_NAMES):
        command = click.option(
            option_name(name),
            type=click.IntRange(0, 65535),
            metavar="PORT",
            expose_value=False,
            callback=_keep_port,
            help=f"Of the {name.replace('_metrics', chr(39) + 's metrics')}, instead of its place above --base-port.",
        )(command)
    return command


@click.command()
@click.option("--demo", is_flag=True, help="Enrol the demo's people and watch its camera: real faces, live decisions.")
@click.option("--camera", "cameras", multiple=True, metavar="[NAME=]URL", help="Watch this camera; may be repeated.")
@click.option(
    "--rate",
    "sample_rate_hz",
    type=click.FloatRange(0, 30, min_open=True),
    default=5.0,
    show_default=True,
    metavar="HZ",
    help="Frames a second to look at, of each --camera.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_data_dir,
    show_default="~/.local/share/tessera",
    envvar=DATA_DIR_VARIABLE,
    show_envvar=True,
    metavar="FOLDER",
    help="Where people, templates, cameras and logs are kept.",
)
@click.option(
    "--targets",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="TESSERA_UP_TARGETS",
    show_envvar=True,
    metavar="FILE",
    help="Who is told of alerts, as docs/notifications.md describes it.  [default: nobody]",
)
@click.option("--view/--no-view", default=None, help="Draw a live view, or write lines.  [default: as the output is]")
@click.option(
    "--ready-limit",
    "ready_limit_s",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the services may take to be ready; the first start fetches the models.",
)
@click.option(
    "--base-port",
    type=click.IntRange(0, HIGHEST_BASE_PORT),
    default=DEFAULT_BASE_PORT,
    show_default=True,
    metavar="PORT",
    help="Moves all ports: encoder +0, gallery +1, ingest +2, gateway +3, metrics +2100 to +2103, store +378; 0: any.",
)
@port_options
@json_option
@click.pass_context
def up(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    demo: bool,
    cameras: tuple[str, ...],
    sample_rate_hz: float,
    data_dir: Path,
    targets: Path | None,
    view: bool | None,
    ready_limit_s: float,
    base_port: int,
) -> int:
    """Start everything on this machine and show what is seen.

    The store (a private Valkey), the encoder, the gallery, the cameras and the gateway run as child processes. One that
    ends is started again; all of them end with this command (Ctrl-C, or SIGTERM). What was enrolled, and which cameras
    are watched, is in the data folder and there again at the next start. Logs are in its folder `logs`, addresses and
    process ids in `instance.json`, and in `keys` what templates are sealed with: without it they cannot be read.

    \b
    Examples:
      tessera up --demo
      tessera up --camera door=rtsp://192.168.1.20/stream1 --camera yard=v4l2:/dev/video0
      tessera up --base-port 0 --data-dir ./trial
    """
    options = UpOptions(
        data_dir=data_dir.expanduser().absolute(),
        cameras=parse_cameras(cameras),
        demo=demo,
        ports=ports_from(base_port, context.meta.get(_PORTS_KEY, {})),
        sample_rate_hz=sample_rate_hz,
        ready_limit_s=ready_limit_s,
        view=_view_kind(view),
        targets=targets.absolute() if targets is not None else None,
    )
    return run_instance(options)


def _view_kind(wanted: bool | None) -> ViewKind:
    if wants_json():
        return ViewKind.JSON
    drawn = sys.stdout.isatty() if wanted is None else wanted
    return ViewKind.LIVE if drawn else ViewKind.PLAIN
