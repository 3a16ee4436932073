"""Where the store's servers are, read from one address; a password in it is never shown.

```
redis://[user:password@]host[:port][/db]          one server; rediss:// with TLS
unix://[user:password@]/path[?db=N]               one server, over a socket of this machine
sentinel://[user:password@]host:port,host:port/NAME[/db]
cluster://[user:password@]host:port,host:port
```
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from tessera.domain.errors import InvalidInputError

ALLOWED = (
    "redis://HOST:PORT/DB, rediss://HOST:PORT/DB, unix:///PATH?db=N, sentinel://HOST:PORT,HOST:PORT/NAME/DB "
    "or cluster://HOST:PORT,HOST:PORT; each with USER:PASSWORD@ before the host where it is needed"
)
_PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379, "cluster": 6379}
_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})
_OPTIONS = {
    "redis": frozenset[str](),
    "rediss": _TLS_OPTIONS,
    "unix": frozenset({"db"}),
    "sentinel": _TLS_OPTIONS | {"tls", "sentinel_user", "sentinel_password"},
    "cluster": _TLS_OPTIONS | {"tls"},
}


class _Wrong(ValueError):  # noqa: N818 - it never leaves this module
    """What is wrong with an address, in words that quote nothing of it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What one connection is opened to."""

    host: str = ""
    port: int = 0
    path: str = ""
    """Of a socket of this machine; then there is no host and no port."""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a server wants to know before it serves."""

    user: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """An address that was read."""

    kind: Literal["server", "sentinel", "cluster"]
    endpoints: tuple[Endpoint, ...]
    """The server, the Sentinels, or some nodes of the cluster."""
    credentials: Credentials = Credentials()
    sentinel_credentials: Credentials = Credentials()
    """Sentinels have an access list of their own."""
    primary: str = ""
    """What Sentinel calls it."""
    database: int = 0
    tls_options: tuple[tuple[str, str], ...] = ()
    """As the address gives them, for clients that make a context of their own."""


def read_address(text: str) -> StoreAddress:
    """Read an address.

    Raises:
        InvalidInputError: it is none; the error shows its scheme alone, for the rest may hold a password.
    """
    try:
        return _read(urlsplit(text))
    except _Wrong as error:
        why = str(error)
    except ValueError:  # of the standard library: its text quotes what it was given
        why = "a part of it cannot be read"
    except OSError as error:
        why = f"its certificates cannot be read: {type(error).__name__}"
    scheme = text.partition("://")[0] if "://" in text else "no scheme"
    raise InvalidInputError("store", scheme, f"{ALLOWED} ({why})")


def _read(parts: SplitResult) -> StoreAddress:
    if parts.scheme not in _OPTIONS:
        raise _Wrong("unknown scheme")
    options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    if options.keys() - _OPTIONS[parts.scheme]:
        raise _Wrong("an option is unknown")
    who, _, where = parts.netloc.rpartition("@")
    user, _, password = who.partition(":")
    credentials = Credentials(unquote(user), unquote(password), _tls(parts.scheme, options))
    path = [unquote(step) for step in parts.path.split("/") if step]
    if parts.scheme == "unix":
        if not path:
            raise _Wrong("no path")
        return StoreAddress("server", (Endpoint(path=unquote(parts.path)),), credentials, database=_database(options))
    endpoints = tuple(_endpoint(one, _PORTS[parts.scheme]) for one in where.split(","))
    tls_options = tuple((name, value) for name, value in options.items() if name in _TLS_OPTIONS)
    if parts.scheme == "sentinel":
        return replace(_sentinel(endpoints, credentials, path, options), tls_options=tls_options)
    if parts.scheme == "cluster":
        if path:
            raise _Wrong("a cluster has one database")
        return StoreAddress("cluster", endpoints, credentials, tls_options=tls_options)
    if len(endpoints) != 1 or len(path) > 1:
        raise _Wrong("one host and one database")
    database = _number(path[0] if path else "0")
    return StoreAddress("server", endpoints, credentials, database=database, tls_options=tls_options)


def _sentinel(
    endpoints: tuple[Endpoint, ...], credentials: Credentials, path: list[str], options: Mapping[str, str]
) -> StoreAddress:
    if not 1 <= len(path) <= 2:
        raise _Wrong("the name of the primary is missing")
    own = Credentials(options.get("sentinel_user", ""), options.get("sentinel_password", ""), credentials.tls)
    database = _number(path[1] if len(path) == 2 else "0")
    return StoreAddress("sentinel", endpoints, credentials, own, path[0], database)


def _endpoint(text: str, port: int) -> Endpoint:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise _Wrong("a host is missing")
    return Endpoint(parts.hostname, port if parts.port is None else parts.port)


def _database(options: Mapping[str, str]) -> int:
    return _number(options.get("db", "0"))


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise _Wrong("a database is a number")
    return int(text)


def _tls(scheme: str, options: Mapping[str, str]) -> ssl.SSLContext | None:
    if scheme != "rediss" and not _yes(options, "tls", default=False):
        if options.keys() & _TLS_OPTIONS:
            raise _Wrong("options of TLS need tls=yes")
        return None
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_cert_reqs", "required") not in ("required", "none"):
        raise _Wrong("ssl_cert_reqs is required or none")
    proved = options.get("ssl_cert_reqs", "required") == "required"
    context.check_hostname = proved and _yes(options, "ssl_check_hostname", default=True)
    context.verify_mode = ssl.CERT_REQUIRED if proved else ssl.CERT_NONE
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context


def _yes(options: Mapping[str, str], name: str, *, default: bool) -> bool:
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if name not in options:
        return default
    if options[name].lower() not in words:
        raise _Wrong(f"{name} is yes or no")
    return words[options[name].lower()]
