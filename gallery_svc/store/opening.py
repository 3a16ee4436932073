"""Opens many sealed values at once, for a load: with libsodium where the processor has AES, else with `cryptography`.

Both open the same bytes. libsodium takes half the time of OpenSSL, to which a new key is dear: a load has one for each
value. Stands below `sealing`, which names the value that did not open; this only says which one it was.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence

ValueOpener = Callable[[Mapping[bytes, bytes], Iterable[bytes], Sequence[bytes]], list[bytes]]
"""(key-encryption keys by the header of their values, what each value authenticates, the values) to the plain ones.

Each value has at least the length of an empty one. Raises NotOpenedError.
"""

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
    return _sodium_opener() or open_with_cryptography


def open_with_cryptography(
    keys: Mapping[bytes, bytes], authenticated: Iterable[bytes], sealed: Sequence[bytes]
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


def _sodium_opener() -> ValueOpener | None:
    try:
        # The public binding copies each argument and result; at a million values that is seconds.
        from nacl._sodium import ffi, lib  # noqa: PLC0415 - optional

        if lib.sodium_init() < 0 or not lib.crypto_aead_aes256gcm_is_available():
            return None
        decrypt, wipe, null = lib.crypto_aead_aes256gcm_decrypt, lib.sodium_memzero, ffi.NULL
    except (ImportError, AttributeError):
        return None

    def open_with_sodium(
        keys: Mapping[bytes, bytes], authenticated: Iterable[bytes], sealed: Sequence[bytes]
    ) -> list[bytes]:
        room = max(map(len, sealed), default=_BODY_AT) - _BODY_AT
        plain, data_key = ffi.new("unsigned char[]", room), ffi.new("unsigned char[]", _DATA_KEY_BYTES)
        plain_bytes = ffi.buffer(plain)
        plains: list[bytes] = []
        try:
            for bound, value, (header, wrap_nonce, wrapped, nonce) in zip(
                authenticated, sealed, map(_front, sealed), strict=True
            ):
                bound_bytes, body = len(bound), value[_BODY_AT:]
                body_bytes = len(body)
                if decrypt(
                    data_key, null, null, wrapped, _WRAPPED_BYTES, bound, bound_bytes, wrap_nonce, keys[header]
                ) or decrypt(plain, null, null, body, body_bytes, bound, bound_bytes, nonce, data_key):
                    raise NotOpenedError(len(plains))
                plains.append(plain_bytes[: body_bytes - _TAG_BYTES])
        except KeyError:
            raise NotOpenedError(len(plains)) from None
        finally:
            wipe(data_key, _DATA_KEY_BYTES)
            wipe(plain, room)
        return plains

    return open_with_sodium
