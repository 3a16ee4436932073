"""Where a reader may go: schemes, networks and folders. A host's name is resolved once, and what was checked is used.

A name that is looked up twice can point elsewhere the second time, and a peer can send its client on to another one.
So every connection of a reader is made here, to an address that was checked, and nothing behind it looks names up.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from camera_ingest.sources.source import SourceError
from camera_ingest.sources.url import SourceKind, SourceUrl
from tessera.domain.errors import InvalidInputError

SCHEMES = ("rtsp", "rtsps", "http", "https", "file", "folder", "v4l2", "demo")
PRIVATE_NETWORKS = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
)
"""This machine and private networks: not the internet, and not 169.254.0.0/16, where clouds answer with secrets."""

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_PATH_KINDS = frozenset({SourceKind.FILE, SourceKind.FOLDER})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What readers may reach."""

    schemes: tuple[str, ...] = SCHEMES
    networks: tuple[str, ...] = PRIVATE_NETWORKS
    folders: tuple[str, ...] = ()
    """Files and folders of pictures lie in one of these; empty: anywhere."""
    tls_verify: bool = True
    """Whether certificates are checked."""
    tls_ca_file: str = ""
    """Who signs them; empty: those that the system trusts."""

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InvalidInputError: a scheme that there is not, or a network that is none.
        """
        for scheme in self.schemes:
            if scheme not in SCHEMES:
                raise InvalidInputError("allowed_schemes", scheme, ", ".join(SCHEMES))
        for network in self.networks:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                allowed = "networks such as 192.168.0.0/16 or fd00::/8, with a comma between two"
                raise InvalidInputError("allowed_networks", network, allowed) from None

    def check_url(self, url: SourceUrl, field: str = "url") -> None:
        """Refuse what can be refused without looking a name up.

        Raises:
            InvalidInputError: the scheme, the address that stands in it, or the folder is not allowed.
        """
        scheme = scheme_of(url)
        if scheme not in self.schemes:
            allowed = f"the schemes {', '.join(self.schemes)} (TESSERA_INGEST_ALLOWED_SCHEMES)"
            raise InvalidInputError(field, url.shown, allowed)
        if url.kind in _PATH_KINDS and not self._lies_in_folders(Path(url.location)):
            allowed = f"a path in {', '.join(self.folders)} (TESSERA_INGEST_ALLOWED_FOLDERS)"
            raise InvalidInputError(field, url.shown, allowed)
        if scheme in DEFAULT_PORTS:
            host = urlsplit(url.location).hostname or ""
            try:
                address = ipaddress.ip_address(host)
            except ValueError:
                return  # a name: looked up when it is opened, and checked then
            if not self.allows(address):
                raise InvalidInputError(field, url.shown, self._allowed_networks())

    def allows(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        """Whether an address lies in a network that is allowed."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        networks = [ipaddress.ip_network(network) for network in self.networks]
        return any(address in network for network in networks if network.version == address.version)

    def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host that are allowed; looked up once.

        Raises:
            SourceError: it has none, or none that is allowed.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise SourceError(f"the name {host} cannot be resolved") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [address for address in addresses if self.allows(ipaddress.ip_address(address.partition("%")[0]))]
        if not allowed:
            raise SourceError(f"{host} is at {', '.join(addresses)}; allowed: {self._allowed_networks()}")
        return allowed

    def connect(self, host: str, port: int, limit_s: float) -> socket.socket:
        """Connect to a host, at an address that was checked.

        Raises:
            SourceError: the host is not allowed, or none of its addresses answers.
        """
        last = "no address"
        for address in self.resolve(host, port):
            try:
                return socket.create_connection((address, port), limit_s)
            except TimeoutError:
                last = f"no answer for {limit_s:.1f} s"
            except OSError as error:
                last = error.strerror or type(error).__name__
        raise SourceError(last)

    def with_tls(self, plain: socket.socket, host: str) -> ssl.SSLSocket:
        """A connection with TLS, its certificate checked against the host's name unless that is switched off.

        Raises:
            SourceError: the certificate is not trusted, or the peer speaks no TLS.
        """
        try:
            context = ssl.create_default_context(cafile=self.tls_ca_file or None)
            if not self.tls_verify:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            return context.wrap_socket(plain, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            raise SourceError(
                f"the certificate of {host} is not trusted ({error.verify_message}): name its signer in "
                "TESSERA_INGEST_TLS_CA_FILE, or set TESSERA_INGEST_TLS_VERIFY=false"
            ) from None
        except TimeoutError:
            plain.close()
            raise SourceError("no answer to the TLS handshake") from None
        except (ssl.SSLError, OSError) as error:
            plain.close()
            raise SourceError(f"no TLS: {getattr(error, 'reason', None) or type(error).__name__}") from None

    def _lies_in_folders(self, path: Path) -> bool:
        if not self.folders:
            return True
        real = path.resolve()
        return any(real.is_relative_to(Path(folder).resolve()) for folder in self.folders)

    def _allowed_networks(self) -> str:
        return f"addresses in {', '.join(self.networks)} (TESSERA_INGEST_ALLOWED_NETWORKS)"


def scheme_of(url: SourceUrl) -> str:
    """The scheme that a URL is allowed or refused by."""
    if url.kind in (SourceKind.RTSP, SourceKind.HTTP):
        return urlsplit(url.location).scheme.lower()
    return url.kind.value.lower()
