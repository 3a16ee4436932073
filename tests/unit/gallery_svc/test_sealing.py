"""Sealed values: they open where they were sealed, with the key that they name, unchanged, and in no other case."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gallery_svc.store.keyring import KeyId, Keyring
from gallery_svc.store.opening import NotOpenedError, ValueOpener, fastest_opener, open_with_cryptography
from gallery_svc.store.sealing import LEAST_BYTES, Place, Sealer
from tessera.chassis.key_files import EncryptionKey, new_key
from tessera.domain.errors import InvalidInputError, KeyMissingError, StoreCorruptError
from tessera.domain.ids import SubjectId

ALICE = Place("g1", SubjectId("alice"), "row", 1)
PLAIN = b"what is known of her"

text = st.text(max_size=12)
places = st.builds(
    Place,
    generation=text,
    subject_id=text.map(SubjectId),
    kind=st.sampled_from(["subject", "row", "picture", "answer"]),
    epoch=st.integers(0, 2**32 - 1),
    name=text,
)


def key() -> EncryptionKey:
    """A new key."""
    return new_key(datetime.now(UTC))


@pytest.fixture(params=["fastest", "cryptography"])
def opener(request: pytest.FixtureRequest) -> ValueOpener:
    """Each way to open many values."""
    if request.param == "cryptography":
        return open_with_cryptography
    if fastest_opener() is open_with_cryptography:
        pytest.skip("this processor has no AES: that libsodium opens the same bytes is not shown")
    return fastest_opener()


@pytest.fixture
def sealer(opener: ValueOpener) -> Sealer:
    """A sealer with one key."""
    return Sealer(Keyring((key(),)), opener)


SEALER = Sealer(Keyring((key(),)))


@given(place=places, plain=st.binary(max_size=300))
def test_what_was_sealed_opens(place: Place, plain: bytes) -> None:
    """At its place, alone and among others; it is 96 bytes longer, and never the same twice."""
    sealed = SEALER.seal(place, plain)
    assert SEALER.open(place, sealed) == plain
    assert SEALER.open_many([place, place], [sealed, sealed]) == [plain, plain]
    assert len(sealed) == len(plain) + LEAST_BYTES
    assert SEALER.seal(place, plain) != sealed


@given(place=places, other=places)
@example(Place("ab", SubjectId("c"), "row"), Place("a", SubjectId("bc"), "row"))
@example(Place("a", SubjectId("c"), "row", name="b"), Place("a", SubjectId("bc"), "row"))
@example(Place("ab", SubjectId("d"), "row", name="c"), Place("a", SubjectId("d"), "row", name="bc"))
@example(Place("a", SubjectId("b"), "row", 1), Place("a", SubjectId("b"), "row", 257))
def test_a_value_opens_at_no_other_place(place: Place, other: Place) -> None:
    """Another generation, subject, kind, epoch or name: nothing of the value is given, and it is not wrapped anew."""
    if place == other:
        return
    sealed = SEALER.seal(place, PLAIN)
    with pytest.raises(StoreCorruptError):
        SEALER.open(other, sealed)
    with pytest.raises(StoreCorruptError):
        SEALER.open_many([place, other], [sealed, sealed])
    with pytest.raises(StoreCorruptError):
        SEALER.data_key(other, sealed)


def test_swapped_values_do_not_open(sealer: Sealer) -> None:
    """Who can write to Redis cannot give one subject the templates of another, not even under a shared data key."""
    bob = replace(ALICE, subject_id=SubjectId("bob"))
    of_alice = sealer.seal(ALICE, PLAIN)
    of_bob = sealer.seal(bob, PLAIN, sealer.data_key(ALICE, of_alice))
    assert sealer.open_rows("g1", 1, ["alice", "bob"], [of_alice, of_bob]) == [PLAIN, PLAIN]
    with pytest.raises(StoreCorruptError, match="row of alice, epoch 1, generation g1"):
        sealer.open_rows("g1", 1, ["alice", "bob"], [of_bob, of_alice])
    with pytest.raises(StoreCorruptError, match="row of bob"):
        sealer.open_many([ALICE, bob], [of_alice, of_alice])
    # Nor by halves: the wrap of one before the body of the other.
    with pytest.raises(StoreCorruptError, match="its body does not open"):
        sealer.open(ALICE, of_alice[:68] + of_bob[68:])


def test_each_flipped_bit_is_found(sealer: Sealer) -> None:
    """Whichever bit of whichever byte: the value does not open, alone or among others, and the error names it."""
    sealed = sealer.seal(ALICE, PLAIN)
    bob = replace(ALICE, subject_id=SubjectId("bob"))
    of_bob = sealer.seal(bob, PLAIN)
    for at, bit in itertools.product(range(len(sealed)), range(8)):
        broken = sealed[:at] + bytes((sealed[at] ^ 1 << bit,)) + sealed[at + 1 :]
        expected = KeyMissingError if 4 <= at < 8 else StoreCorruptError
        with pytest.raises(expected):
            sealer.open(ALICE, broken)
        with pytest.raises(expected) as found:
            sealer.open_many([bob, ALICE], [of_bob, broken])
        assert expected is KeyMissingError or "alice" in str(found.value)


def test_each_cut_is_found(sealer: Sealer) -> None:
    """However short a value is, and also when it is longer than it was: an error of ours."""
    sealed = sealer.seal(ALICE, PLAIN)
    for broken in [sealed[:length] for length in range(len(sealed))] + [sealed + b"\0"]:
        with pytest.raises(StoreCorruptError, match="row of alice"):
            sealer.open(ALICE, broken)
        with pytest.raises(StoreCorruptError, match="row of alice"):
            sealer.open_many([ALICE, ALICE], [sealed, broken])


def test_a_missing_key_is_named(sealer: Sealer) -> None:
    """By the fingerprint that the key file's line has in its name; whatever is asked of the value."""
    other = key()
    sealed = Sealer(Keyring((other,))).seal(ALICE, PLAIN)
    for ask in (
        lambda: sealer.open(ALICE, sealed),
        lambda: sealer.open_many([ALICE], [sealed]),
        lambda: sealer.data_key(ALICE, sealed),
        lambda: sealer.rewrap(ALICE, sealed),
        lambda: sealer.key_id_of(sealed),
    ):
        with pytest.raises(KeyMissingError) as missing:
            ask()
        assert missing.value.key == other.fingerprint.hex()
        assert other.key_id.endswith(missing.value.key)


def test_values_of_a_subject_share_a_data_key() -> None:
    """Each still opens from its own bytes alone."""
    first = SEALER.seal(ALICE, PLAIN)
    profile = replace(ALICE, kind="subject", epoch=0)
    second = SEALER.seal(profile, b"profile", SEALER.data_key(ALICE, first))
    assert SEALER.data_key(profile, second) == SEALER.data_key(ALICE, first)
    assert SEALER.open(profile, second) == b"profile"
    with pytest.raises(InvalidInputError, match="data_key"):
        SEALER.seal(ALICE, PLAIN, b"short")


def test_a_rewrap_changes_the_wrap_alone() -> None:
    """Its body and tag stay; it opens with the new key alone; a value that is under it already is given back."""
    old, new = key(), key()
    sealed = Sealer(Keyring((old,))).seal(ALICE, PLAIN)
    both, newest = Sealer(Keyring((new, old))), Sealer(Keyring((new,)))
    rewrapped = both.rewrap(ALICE, sealed)
    assert rewrapped[68:] == sealed[68:]
    assert both.tag(rewrapped) == both.tag(sealed) == sealed[-16:]
    assert both.key_id_of(sealed) == old.key_id
    assert both.key_id_of(rewrapped) == new.key_id
    assert newest.open(ALICE, rewrapped) == PLAIN
    assert both.rewrap(ALICE, rewrapped) is rewrapped
    with pytest.raises(KeyMissingError):
        newest.open(ALICE, sealed)
    with pytest.raises(StoreCorruptError):
        both.rewrap(replace(ALICE, epoch=2), sealed)


def test_values_open_at_any_time_of_a_rotation(opener: ValueOpener) -> None:
    """Readers that load all the while see no value that does not open; afterwards the old key is not needed."""
    old, new = key(), key()
    sealer = Sealer(Keyring((old,)), opener)
    names = [f"s{at}" for at in range(64)]
    rows = [Place("g1", SubjectId(name), "row", 1) for name in names]
    kept = [sealer.seal(place, place.subject_id.encode()) for place in rows]
    turns = itertools.cycle((Keyring((new, old)), Keyring((old, new))))
    seen: set[int] = set()  # how many values of one load were under the old key
    done = threading.Event()

    def load() -> int:
        while not done.is_set():
            values = list(kept)
            assert sealer.open_rows("g1", 1, names, values) == [name.encode() for name in names]
            assert sealer.open(rows[0], values[0]) == b"s0"
            seen.add(sum(sealer.key_id_of(value) == old.key_id for value in values))
        return 0

    with ThreadPoolExecutor(2) as pool:
        loads = [pool.submit(load), pool.submit(load)]
        while len(seen) < 8 and not any(reader.done() for reader in loads):
            sealer.adopt(next(turns))
            for at, place in enumerate(rows):
                kept[at] = sealer.rewrap(place, kept[at])
        done.set()
        assert [reader.result() for reader in loads] == [0, 0]
    sealer.adopt(Keyring((new, old)))
    kept = [sealer.rewrap(place, value) for place, value in zip(rows, kept, strict=True)]
    sealer.adopt(Keyring((new,)))
    assert sealer.open_many(rows, kept) == [name.encode() for name in names]


def test_a_key_that_comes_while_values_are_opened_opens_them() -> None:
    """A load that began before the key was there is not told that its values are corrupt."""
    newest = Keyring((key(),))
    sealed = Sealer(newest).seal(ALICE, PLAIN)

    def adopt_too_late(*load: Any) -> list[bytes]:
        try:
            return open_with_cryptography(*load)
        finally:
            late.adopt(newest)

    late = Sealer(Keyring((key(),)), adopt_too_late)
    assert late.open_many([ALICE], [sealed]) == [PLAIN]


def test_many_threads_open_at_once(opener: ValueOpener) -> None:
    """No two calls share a buffer."""
    sealer = Sealer(Keyring((key(),)), opener)

    def opened(letter: str) -> bool:
        names = [f"{letter}{at}" for at in range(200)]
        plains = [name.encode() * 20 for name in names]
        values = [
            sealer.seal(Place("g", SubjectId(name), "row"), plain) for name, plain in zip(names, plains, strict=True)
        ]
        return all(sealer.open_rows("g", 0, names, values) == plains for _ in range(5))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(opened, "abcd"))


def test_none_and_one_for_each(sealer: Sealer) -> None:
    """No value at all is none; places and values that do not pair are refused."""
    assert sealer.open_many([], []) == []
    assert sealer.open_rows("g", 1, [], []) == []
    with pytest.raises(InvalidInputError, match="2 places"):
        sealer.open_many([ALICE, ALICE], [sealer.seal(ALICE, PLAIN)])


def test_an_empty_value_can_be_told_from_none(sealer: Sealer) -> None:
    """A plain value of no bytes is sealed and opened as such."""
    assert sealer.open_many([ALICE], [sealer.seal(ALICE, b"")]) == [b""]


def test_an_opener_says_which_value_it_was(opener: ValueOpener) -> None:
    """Counted from 0, the first that does not open."""
    with pytest.raises(NotOpenedError) as failed:
        opener({}, [b"", b""], [bytes(LEAST_BYTES)] * 2)
    assert failed.value.at == 0


def test_no_error_shows_what_was_sealed() -> None:
    """Neither the plain value nor a key is in an error's text."""
    secret = key()
    sealer = Sealer(Keyring((EncryptionKey(KeyId("k"), secret.key),)))
    sealed = sealer.seal(ALICE, PLAIN)
    with pytest.raises(StoreCorruptError) as found:
        sealer.open(ALICE, sealed[:-1])
    assert repr(PLAIN)[2:-1] not in str(found.value)
    assert secret.key.hex() not in str(found.value)
