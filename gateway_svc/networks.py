"""Which addresses a webhook may go to: a URL in a file must not reach what stands inside the house by accident.

Public addresses always; others when a setting names their network. What a name resolves to is looked at when the
connection is made, so that a name that changes its mind is noticed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from gateway_svc.delivering import DeliveryRefusedError
from tessera.domain.errors import InvalidInputError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(field: str, text: str) -> tuple[Network, ...]:
    """Networks as a setting lists them: `10.1.0.0/16,192.168.4.7`.

    Raises:
        InvalidInputError: one is none.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tuple(ipaddress.ip_network(part) for part in parts)
    except ValueError:
        raise InvalidInputError(field, text, "networks such as 10.1.0.0/16, with commas between them") from None


class Allowed:
    """Addresses that may be connected to.

    Args:
        networks: beside every public address.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)

    def __contains__(self, address: str) -> bool:
        """Whether an IP address may be connected to."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        is_public = ip.is_global and not ip.is_multicast
        return is_public or any(ip.version == network.version and ip in network for network in self._networks)

    def require_literal(self, host: str) -> None:
        """Look at a host that is an address already, and is therefore never resolved.

        Raises:
            DeliveryRefusedError: it may not be connected to.
        """
        try:
            allowed = host.strip("[]") in self
        except ValueError:
            return  # a name: `AllowedResolver` looks at what it resolves to
        if not allowed:
            raise refused(host)


class AllowedResolver(AbstractResolver):
    """Resolves names to the addresses that may be connected to.

    Args:
        allowed: which those are.
    """

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name that may be used.

        Raises:
            DeliveryRefusedError: it has none of them.
            OSError: it has no address at all.
        """
        found = await self._resolver.resolve(host, port, family)
        usable = [entry for entry in found if entry["host"] in self._allowed]
        if not usable:
            raise refused(host)
        return usable

    async def close(self) -> None:
        """Nothing is held."""
        await self._resolver.close()


def refused(host: str) -> DeliveryRefusedError:
    """Why nothing was sent."""
    return DeliveryRefusedError(f"{host} is no public address, nor in TESSERA_GATEWAY_ALLOWED_NETWORKS")
