"""Opens many sealed values at once, for a load: with libsodium where the processor has AES, else with `cryptography`.

Both open the same bytes. libsodium takes half the time of OpenSSL, to which a new key is dear: a load has one for each
value. Stands below `sealing`, which names the value that did not open; this only says which one it was.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

ValueOpener = Callable[[Mapping[bytes, bytes], Sequence[bytes], Sequence[bytes]], list[bytes]]
"""(key-encryption keys by the header of their values, what each value authenticates, the values) to the plain ones.

Each value has at least the length of an empty one. Raises NotOpenedError.
"""

JoinedOpener = Callable[[Mapping[bytes, bytes], Sequence[bytes], Sequence[bytes]], bytearray]
"""As `ValueOpener`, to the plain ones one behind the other; each is `LEAST_BYTES` shorter than its value."""

_front = struct.Struct("<8s12s48s12s").unpack_from
_BODY_AT = 80
_WRAPPED_BYTES = 48
_DATA_KEY_BYTES = 32
_TAG_BYTES = 16
LEAST_BYTES = _BODY_AT + _TAG_BYTES
"""Of each value, as `sealing` makes them."""


class NotOpenedError(Exception):
    """A value did not open.

    Args:
        at: which one, from 0.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        super().__init__(f"value {at}")


def fastest_opener() -> ValueOpener:
    """The way that is fastest on this processor."""
    opener = _sodium_opener()
    if opener is None:
        return open_with_cryptography

    def open_each(keys: Mapping[bytes, bytes], authenticated: Sequence[bytes], sealed: Sequence[bytes]) -> list[bytes]:
        joined, at, plains = bytes(opener(keys, authenticated, sealed)), 0, []
        for value in sealed:
            end = at + len(value) - LEAST_BYTES
            plains.append(joined[at:end])
            at = end
        return plains

    return open_each


def fastest_joined_opener() -> JoinedOpener:
    """The same, without an object for each value."""
    return _sodium_opener() or (lambda *load: bytearray().join(open_with_cryptography(*load)))


def open_with_cryptography(
    keys: Mapping[bytes, bytes], authenticated: Sequence[bytes], sealed: Sequence[bytes]
) -> list[bytes]:
    """As `ValueOpener` says, with OpenSSL."""
    # Here, and not above: a process that opens with libsodium begins in half of the time.
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    ciphers = {header: AESGCM(key) for header, key in keys.items()}
    plains: list[bytes] = []
    try:
        for bound, value in zip(authenticated, sealed, strict=True):
            header, wrap_nonce, wrapped, nonce = _front(value)
            data_key = ciphers[header].decrypt(wrap_nonce, wrapped, bound)
            plains.append(AESGCM(data_key).decrypt(nonce, value[_BODY_AT:], bound))
    except (KeyError, InvalidTag):
        raise NotOpenedError(len(plains)) from None
    return plains


def _sodium_opener() -> JoinedOpener | None:
    try:
        # The public binding copies each argument and result; at a million values that is seconds.
        from nacl._sodium import ffi, lib  # noqa: PLC0415 - optional

        if lib.sodium_init() < 0 or not lib.crypto_aead_aes256gcm_is_available():
            return None
        decrypt, wipe, null = lib.crypto_aead_aes256gcm_decrypt, lib.sodium_memzero, ffi.NULL
    except (ImportError, AttributeError):
        return None

    def open_with_sodium(
        keys: Mapping[bytes, bytes], authenticated: Sequence[bytes], sealed: Sequence[bytes]
    ) -> bytearray:
        plains = bytearray(sum(map(len, sealed)) - LEAST_BYTES * len(sealed))
        data_key, at = ffi.new("unsigned char[]", _DATA_KEY_BYTES), 0
        room = ffi.from_buffer("unsigned char[]", plains, require_writable=True)
        to = room + 0
        try:
            for bound, value, (header, wrap_nonce, wrapped, nonce) in zip(
                authenticated, sealed, map(_front, sealed), strict=True
            ):
                bound_bytes, body = len(bound), value[_BODY_AT:]
                body_bytes = len(body)
                if decrypt(
                    data_key, null, null, wrapped, _WRAPPED_BYTES, bound, bound_bytes, wrap_nonce, keys[header]
                ) or decrypt(to, null, null, body, body_bytes, bound, bound_bytes, nonce, data_key):
                    break
                to += body_bytes - _TAG_BYTES
                at += 1
        except KeyError:
            pass  # told as any other that does not open
        finally:
            wipe(data_key, _DATA_KEY_BYTES)
            if at < len(sealed):
                wipe(room, len(plains))
            ffi.release(room)
        if at < len(sealed):
            raise NotOpenedError(at)
        return plains

    return open_with_sodium
