"""`python -m tessera.chassis.probe ADDRESS`: whether a service takes work, for containers and units.

For what starts and watches processes without speaking grpc.health.v1 itself. Ends with 0 when the answer is SERVING,
else with 1 and a word why.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tessera.chassis.channel import open_blocking_channel

_CALL_S = 2.0
_PAUSE_S = 0.2


def ask(address: str, service: str = "") -> str:
    """What a service says of its health, once.

    Args:
        address: `host:port`.
        service: of grpc.health.v1; empty: the process as a whole.

    Returns:
        Such as `SERVING`, or the status code of the failed call.
    """
    with open_blocking_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=_CALL_S)
        except grpc.RpcError as error:
            return str(error.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask until the service takes work or the wait is over."""
    parser = argparse.ArgumentParser(prog="tessera.chassis.probe", description="Whether a service takes work.")
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("--service", default="", help="of grpc.health.v1; `live`: whether the process answers at all")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="ask again for so long")
    options = parser.parse_args(arguments)
    give_up_s = time.monotonic() + options.wait
    while (said := ask(options.address, options.service)) != "SERVING":
        if time.monotonic() >= give_up_s:
            print(f"{options.address} {options.service or 'as a whole'}: {said}", file=sys.stderr)
            return 1
        time.sleep(_PAUSE_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
