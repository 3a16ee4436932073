"""`tessera status`: which services and cameras do their work."""

from __future__ import annotations

import click

from tessera.cli.as_json import echo_json
from tessera.cli.cameras import camera_text
from tessera.cli.connection import connect, connection_options, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.client import Tessera
from tessera.client.answers import Camera, ServiceState
from tessera.client.errors import TesseraCallError

_WORDS = {
    ServiceState.SERVING: "ready",
    ServiceState.NOT_SERVING: "up, not ready",
    ServiceState.UNREACHABLE: "does not answer",
}


@click.command()
@connection_options
def status() -> int:
    """Show which services and cameras do their work.

    Exit codes: 0 every service is ready, 4 one is not.
    """
    with connect() as tessera:
        services = tessera.status()
        cameras = _cameras(tessera)
    ready = all(service.state is ServiceState.SERVING for service in services)
    if wants_json():
        echo_json({"ready": ready, "services": services, "cameras": cameras})
        return ExitCode.DONE if ready else ExitCode.UNAVAILABLE
    for service in services:
        click.echo(f"{service.name:<16} {_WORDS[service.state]:<16} {service.address}")
    for entry in cameras:
        click.echo(camera_text(entry))
    if not ready:
        click.echo("`tessera up` starts everything; its logs are in the folder `logs` under --data-dir.", err=True)
    return ExitCode.DONE if ready else ExitCode.UNAVAILABLE


def _cameras(tessera: Tessera) -> list[Camera]:
    """Those that the ingest names; none when it is away, which the list of services shows already."""
    try:
        return list(tessera.cameras())
    except TesseraCallError:
        return []
