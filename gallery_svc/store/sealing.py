"""Sealed values: what the store keeps of subjects, encrypted, and bound to the place where it lies.

    version 0x02 | 3 bytes 0 | fingerprint of the wrapping key 4     what opens it, in clear
    nonce 12 | data key 32 | tag 16                                  the data key, wrapped by the key-encryption key
    nonce 12 | plain n | tag 16                                      the body, under the data key

All is AES-256-GCM. Each value carries its own wrap of its data key, so that it opens from its own bytes, and a rotation
writes 68 of them anew. Both parts authenticate the place: a value that was moved to another subject, kind, epoch or
generation does not open. Stands between the records and Redis; keeps nothing, and does not know what a value means.

A nonce is 12 random bytes: NIST asks for fewer than 2^32 wraps under one key (SP 800-38D, 8.3), so rotate before.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import urandom
from typing import Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gallery_svc.store.keyring import KeyId, Keyring
from gallery_svc.store.opening import NotOpenedError, ValueOpener, fastest_opener
from tessera.domain.errors import InvalidInputError, KeyMissingError, StoreCorruptError
from tessera.domain.ids import SubjectId

Kind = Literal["subject", "row", "picture", "answer", "look"]

VERSION = 2
DATA_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = 8
_BODY_AT = _HEADER_BYTES + _NONCE_BYTES + DATA_KEY_BYTES + _TAG_BYTES
_FRONT = struct.Struct("12s48s12s")
_PLACE = struct.Struct("<BcIHH")
LEAST_BYTES = _BODY_AT + _NONCE_BYTES + _TAG_BYTES
"""Of any sealed value: that of an empty plain one."""

_KIND_BYTES: dict[Kind, bytes] = {"subject": b"S", "row": b"R", "picture": b"P", "answer": b"A", "look": b"L"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed value lies; it opens nowhere else."""

    generation: str
    """Of the collection: one that is made again under the same name has another."""
    subject_id: SubjectId
    kind: Kind
    epoch: int = 0
    """Of the model, for rows; 0 to 2^32 - 1."""
    name: str = ""
    """What tells values of one subject and kind apart, such as a template's id."""

    def __str__(self) -> str:
        """For errors."""
        name = f" {self.name}" if self.name else ""
        return f"{self.kind}{name} of {self.subject_id}, epoch {self.epoch}, generation {self.generation}"


class _Parts(NamedTuple):
    header: bytes
    wrap_nonce: bytes
    wrapped: bytes
    nonce: bytes
    body: bytes


class Sealer:
    """Seals and opens values with the keys of a ring. Safe to use from several threads.

    Args:
        keyring: the keys.
        opener: opens many values at once; None: the fastest that this processor has.
    """

    def __init__(self, keyring: Keyring, opener: ValueOpener | None = None) -> None:
        self._opener = opener or fastest_opener()
        self.adopt(keyring)

    def adopt(self, keyring: Keyring) -> None:
        """Use these keys from now on: a rotation without a restart."""
        self._ring = _Ring(keyring)

    def seal(self, place: Place, plain: bytes, data_key: bytes | None = None) -> bytes:
        """Encrypt a value.

        Args:
            place: where it will lie.
            plain: what it holds.
            data_key: 32 bytes, of another value of the same subject; None: a new one.

        Returns:
            96 bytes more than `plain`.

        Raises:
            InvalidInputError: `data_key` has another length.
        """
        key = AESGCM.generate_key(256) if data_key is None else data_key
        subject = self.subject(place.generation, place.subject_id, key)
        return subject.seal(place.kind, plain, place.epoch, place.name)

    def subject(self, generation: str, subject_id: SubjectId, data_key: bytes) -> SubjectSealer:
        """What seals several values of one subject, for one write.

        Args:
            generation: of the collection.
            subject_id: whose values they are.
            data_key: 32 bytes.

        Raises:
            InvalidInputError: `data_key` has another length.
        """
        return SubjectSealer(self._ring, generation, subject_id, data_key)

    def open(self, place: Place, sealed: bytes) -> bytes:
        """Decrypt a value.

        Raises:
            StoreCorruptError: it is not what was sealed for this place.
            KeyMissingError: the ring does not have its key.
        """
        authenticated = _authenticated(place)
        parts = _parts(place, sealed)
        key = self._ring.unwrapped(place, parts, authenticated)
        try:
            return AESGCM(key).decrypt(parts.nonce, parts.body, authenticated)
        except InvalidTag:
            raise _corrupt(place, "its body does not open") from None

    def open_many(self, places: Sequence[Place], sealed: Sequence[bytes]) -> list[bytes]:
        """Decrypt many values.

        Raises:
            StoreCorruptError: one is not what was sealed for its place; it is named, and none is given.
            KeyMissingError: the ring does not have a value's key.
        """
        return self._opened(places, [_authenticated(place) for place in places], sealed)

    def open_rows(
        self, generation: str, epoch: int, subject_ids: Sequence[str], sealed: Sequence[bytes]
    ) -> list[bytes]:
        """Decrypt the rows of many subjects: as `open_many`, without making a place for each.

        Raises:
            StoreCorruptError: one is not what was sealed for its place; it is named, and none is given.
            KeyMissingError: the ring does not have a value's key.
        """
        head = _authenticated(Place(generation, SubjectId(""), "row", epoch))
        places = _RowPlaces(generation, epoch, subject_ids)
        return self._opened(places, [head + subject_id.encode() for subject_id in subject_ids], sealed)

    def row_keys(self, generation: str, epoch: int) -> tuple[Mapping[bytes, bytes], bytes]:
        """What another process of this gallery opens rows with.

        Returns:
            Key-encryption keys by the header of the values that they open; and what a row authenticates before the id
            of its subject.
        """
        return self._ring.keys_by_header, _authenticated(Place(generation, SubjectId(""), "row", epoch))

    def _opened(
        self, places: Sequence[Place] | _RowPlaces, authenticated: list[bytes], sealed: Sequence[bytes]
    ) -> list[bytes]:
        ring = self._ring
        if len(places) != len(sealed):
            raise InvalidInputError("sealed", f"{len(sealed)} values", f"one for each of {len(places)} places")
        if min(map(len, sealed), default=LEAST_BYTES) < LEAST_BYTES:
            return [self.open(places[at], value) for at, value in enumerate(sealed)]
        try:
            return self._opener(ring.keys_by_header, authenticated, sealed)
        except NotOpenedError as failed:
            # Opened again by the way that tells what is wrong with it.
            self.open(places[failed.at], sealed[failed.at])
            if ring is not self._ring:  # its key was adopted in between
                return self._opened(places, authenticated, sealed)
            raise _corrupt(places[failed.at], "it opens alone and not among others") from failed

    def data_key(self, place: Place, sealed: bytes) -> bytes:
        """The data key of a value, for others of the same subject.

        Raises:
            StoreCorruptError: the value is not one that was sealed for this place.
            KeyMissingError: the ring does not have its key.
        """
        return self._ring.unwrapped(place, _parts(place, sealed), _authenticated(place))

    def rewrap(self, place: Place, sealed: bytes) -> bytes:
        """The value with its data key under the wrapping key; its body stays, byte by byte.

        Returns:
            The same bytes when they are under the wrapping key already.

        Raises:
            StoreCorruptError: the value is not one that was sealed for this place.
            KeyMissingError: the ring does not have its key.
        """
        ring = self._ring
        parts = _parts(place, sealed)
        if parts.header == ring.header:
            return sealed
        authenticated = _authenticated(place)
        return ring.wrapped(ring.unwrapped(place, parts, authenticated), authenticated) + sealed[_BODY_AT:]

    def key_id_of(self, sealed: bytes) -> KeyId:
        """Which key of the ring a value is wrapped with.

        Raises:
            StoreCorruptError: it is not a sealed value.
            KeyMissingError: none of the ring.
        """
        return self._ring.key_id(_checked_header("a value", sealed))

    @staticmethod
    def tag(sealed: bytes) -> bytes:
        """The 16 bytes that authenticate a value's body: others for other content, the same after a rotation.

        Raises:
            StoreCorruptError: it is not a sealed value.
        """
        _checked_header("a value", sealed)
        return sealed[-_TAG_BYTES:]


class SubjectSealer:
    """Seals values of one subject under one data key; made by `Sealer.subject`."""

    def __init__(self, ring: _Ring, generation: str, subject_id: SubjectId, data_key: bytes) -> None:
        if len(data_key) != DATA_KEY_BYTES:
            raise InvalidInputError("data_key", f"{len(data_key)} bytes", f"{DATA_KEY_BYTES} bytes")
        self._ring = ring
        self._data_key = data_key
        self._encrypt = AESGCM(data_key).encrypt
        self._generation = generation.encode()
        self._subject_id = subject_id.encode()

    def seal(self, kind: Kind, plain: bytes, epoch: int = 0, name: str = "") -> bytes:
        """Encrypt a value, and wrap the data key for it.

        Args:
            kind: of the value.
            plain: what it holds.
            epoch: of the model, for rows.
            name: what tells values of one kind apart.

        Returns:
            96 bytes more than `plain`.
        """
        authenticated = _authenticated_bytes(self._generation, self._subject_id, kind, epoch, name)
        nonce = urandom(_NONCE_BYTES)
        return self._ring.wrapped(self._data_key, authenticated) + nonce + self._encrypt(nonce, plain, authenticated)

    def seal_body(self, kind: Kind, plain: bytes, name: str = "") -> bytes:
        """The same without the wrapped key: it opens with that of another value.

        Returns:
            28 bytes more than `plain`.
        """
        nonce = urandom(_NONCE_BYTES)
        authenticated = _authenticated_bytes(self._generation, self._subject_id, kind, 0, name)
        return nonce + self._encrypt(nonce, plain, authenticated)


class _Ring:
    """A keyring as sealing needs it: ciphers that are ready, by the header of the values that they open."""

    def __init__(self, keyring: Keyring) -> None:
        keys = {_header(fingerprint): key for fingerprint, key in keyring.by_fingerprint.items()}
        self.header = _header(keyring.wrapping_key.fingerprint)
        self.keys_by_header = {header: key.key for header, key in keys.items()}
        self._ids = {header: key.key_id for header, key in keys.items()}
        self._ciphers = {header: AESGCM(key) for header, key in self.keys_by_header.items()}
        self._wrap = self._ciphers[self.header].encrypt

    def wrapped(self, data_key: bytes, authenticated: bytes) -> bytes:
        nonce = urandom(_NONCE_BYTES)
        return self.header + nonce + self._wrap(nonce, data_key, authenticated)

    def unwrapped(self, place: Place, parts: _Parts, authenticated: bytes) -> bytes:
        self.key_id(parts.header)
        try:
            return self._ciphers[parts.header].decrypt(parts.wrap_nonce, parts.wrapped, authenticated)
        except InvalidTag:
            raise _corrupt(place, "its data key does not open") from None

    def key_id(self, header: bytes) -> KeyId:
        if header not in self._ids:
            raise KeyMissingError(header[-4:].hex())
        return self._ids[header]


class _RowPlaces:
    """The places of many rows, made only when one is asked for, which is when it does not open."""

    def __init__(self, generation: str, epoch: int, subject_ids: Sequence[str]) -> None:
        self._generation = generation
        self._epoch = epoch
        self._subject_ids = subject_ids

    def __len__(self) -> int:
        return len(self._subject_ids)

    def __getitem__(self, at: int) -> Place:
        return Place(self._generation, SubjectId(self._subject_ids[at]), "row", self._epoch)


def _authenticated(place: Place) -> bytes:
    return _authenticated_bytes(
        place.generation.encode(), place.subject_id.encode(), place.kind, place.epoch, place.name
    )


def _authenticated_bytes(generation: bytes, subject_id: bytes, kind: Kind, epoch: int, name: str) -> bytes:
    # Every field but the last has its length in front of it or a fixed one, so that no two places read alike.
    told = name.encode()
    return _PLACE.pack(VERSION, _KIND_BYTES[kind], epoch, len(generation), len(told)) + generation + told + subject_id


def _header(fingerprint: bytes) -> bytes:
    return struct.pack("<B3x4s", VERSION, fingerprint)


def _checked_header(where: object, sealed: bytes) -> bytes:
    if len(sealed) < LEAST_BYTES:
        raise _corrupt(where, f"{len(sealed)} bytes; a sealed value has {LEAST_BYTES} or more")
    if sealed[:4] != _header(bytes(4))[:4]:
        raise _corrupt(
            where, f"begins with {sealed[:4].hex()}; a sealed value begins with {_header(bytes(4))[:4].hex()}"
        )
    return sealed[:_HEADER_BYTES]


def _parts(place: Place, sealed: bytes) -> _Parts:
    header = _checked_header(place, sealed)
    wrap_nonce, wrapped, nonce = _FRONT.unpack_from(sealed, _HEADER_BYTES)
    return _Parts(header, wrap_nonce, wrapped, nonce, sealed[_BODY_AT + _NONCE_BYTES :])


def _corrupt(where: object, why: str) -> StoreCorruptError:
    return StoreCorruptError(str(where), why)
