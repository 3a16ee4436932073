"""The ports of one instance: chosen, or found, and looked at before anything starts."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from tessera.chassis.clock import Clock
from tessera.chassis.ports import HOST, free_port
from tessera.cli.failure import Failure

DEFAULT_BASE_PORT = 7001
HIGHEST_BASE_PORT = 63_000

# An instance that was killed a moment ago may still be leaving its ports.
_LEAVING_LIMIT_S = 2.0
_LEAVING_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Ports:
    """Where each part listens; 0: not chosen yet."""

    encoder: int
    gallery: int
    ingest: int
    gateway: int
    encoder_metrics: int
    gallery_metrics: int
    ingest_metrics: int
    gateway_metrics: int
    store: int


_OFFSETS = Ports(
    encoder=0,
    gallery=1,
    ingest=2,
    gateway=3,
    encoder_metrics=2100,
    gallery_metrics=2101,
    ingest_metrics=2102,
    gateway_metrics=2103,
    store=378,
)
PORT_NAMES = tuple(field.name for field in fields(Ports))


def ports_from(base: int, chosen: Mapping[str, int]) -> Ports:
    """All ports: those that were chosen, and the others at their places above the base.

    Args:
        base: the encoder's; 0: every port that was not chosen is any free one.
        chosen: ports by the names of `PORT_NAMES`.
    """
    by_place = {name: base + offset if base else 0 for name, offset in asdict(_OFFSETS).items()}
    return Ports(**{**by_place, **chosen})


def settle_ports(wanted: Ports, clock: Clock) -> Ports:
    """Choose free ports where 0 stands, and make sure that the others are free.

    All of them are held until the last is found, so that none is given twice.

    Raises:
        Failure: another process has one of them; names the option that changes it.
    """
    held: dict[str, socket.socket] = {}
    until_s = clock.monotonic_s() + _LEAVING_LIMIT_S
    try:
        for name in PORT_NAMES:
            held[name] = _hold(name, getattr(wanted, name) or free_port(), until_s, clock)
        return Ports(**{name: taken.getsockname()[1] for name, taken in held.items()})
    finally:
        for taken in held.values():
            taken.close()


def option_name(name: str) -> str:
    """The option that chooses a port: `--encoder-metrics-port`."""
    return f"--{name.replace('_', '-')}-port"


def _hold(name: str, port: int, until_s: float, clock: Clock) -> socket.socket:
    while True:
        probe = socket.socket()
        # As the servers do: a port whose old connections still linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError as error:
            probe.close()
            if error.errno != errno.EADDRINUSE or clock.monotonic_s() > until_s:
                raise _refused(name, port, error) from None
            time.sleep(_LEAVING_PAUSE_S)
        else:
            return probe


def _refused(name: str, port: int, error: OSError) -> Failure:
    option = option_name(name)
    taken = error.errno == errno.EADDRINUSE
    what = name.replace("_metrics", "'s metrics")
    return Failure(
        f"port {port} of the {what} is in use" if taken else f"port {port} of the {what}: {error.strerror}",
        field=option,
        value=str(port),
        allowed="a free port of this machine; 0 takes any",
        next_step=f"end the program that has it, or choose another with {option}; --base-port moves all of them",
        reason="PORT_IN_USE" if taken else "INVALID_FIELD",
    )
