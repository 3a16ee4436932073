"""What a server that asks for a password is answered: Digest where it offers that, else Basic.

Source: RFC 7616 (Digest; MD5 and SHA-256, quality of protection `auth` or none) and RFC 7617 (Basic).
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field

from camera_ingest.sources.source import SourceError

_PARAMETER = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')
_HASHES = {"MD5": "md5", "SHA-256": "sha256"}


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks."""

    user: str
    password: str = field(repr=False)


def answer_to(challenge: str, login: Login, method: str, target: str) -> str:
    """The value of `Authorization`.

    Args:
        challenge: the value of `WWW-Authenticate`.
        login: who asks.
        method: such as GET.
        target: path and query that are asked for.

    Raises:
        SourceError: it asks in a way that is not known here.
    """
    kind = challenge.partition(" ")[0].lower()
    if "digest" in challenge.lower():
        start = challenge.lower().index("digest")
        return _digest(dict(_parameters(challenge[start + 6 :])), login, method, target)
    if kind == "basic":
        return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    raise SourceError(f"it asks for a login of the kind {kind[:20]!r}; known are Digest and Basic")


def _parameters(text: str) -> list[tuple[str, str]]:
    return [(name.lower(), quoted or bare) for name, quoted, bare in _PARAMETER.findall(text)]


def _digest(asked: dict[str, str], login: Login, method: str, target: str) -> str:
    algorithm = asked.get("algorithm", "MD5").upper()
    name = _HASHES.get(algorithm)
    if name is None:
        raise SourceError(f"it asks for a Digest of the kind {algorithm[:20]!r}; known are {', '.join(_HASHES)}")
    realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
    one = _hash(name, f"{login.user}:{realm}:{login.password}")
    two = _hash(name, f"{method}:{target}")
    said = f'username="{login.user}", realm="{realm}", nonce="{nonce}", uri="{target}", algorithm={algorithm}'
    if "auth" in [word.strip() for word in asked.get("qop", "").split(",")]:
        ours = secrets.token_hex(8)
        response = _hash(name, f"{one}:{nonce}:00000001:{ours}:auth:{two}")
        said += f', qop=auth, nc=00000001, cnonce="{ours}"'
    else:
        response = _hash(name, f"{one}:{nonce}:{two}")
    said += f', response="{response}"'
    return "Digest " + said + (f', opaque="{asked["opaque"]}"' if "opaque" in asked else "")


def _hash(name: str, text: str) -> str:
    return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()
