"""`python -m gallery_svc.store.loading`: opens the rows of a load for the gallery that started it.

Keys and sealed rows come over the socket that is its standard input, the rows just as the store's server wrote them;
what was in them goes back over the same one. Nothing is written anywhere, and it ends with the socket, which is the
gallery's end as well. It imports so little that it begins within 30 ms of the processor. What it cannot open it gives
back, and the gallery says what is wrong with it.
"""

from __future__ import annotations

import gc
import os
import struct
from array import array

import hiredis

from gallery_svc.store.opening import LEAST_BYTES, NotOpenedError, fastest_joined_opener

TYPE_CHECKING = False  # the module of that name takes a third of the time that this one needs to begin
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gallery_svc.store.opening import JoinedOpener

COUNT = struct.Struct("<I")
"""How many parts a message has; then the length of each, as u64, and the parts."""

_TAG_BYTES = 16
_LINE = 0


def message_of(parts: Sequence[bytes | bytearray]) -> list[bytes | bytearray]:
    """Parts as what is sent."""
    return [COUNT.pack(len(parts)), struct.pack(f"<{len(parts)}Q", *map(len, parts)), *parts]


def opened(
    authenticated: bytes, replies: Sequence[bytes | bytearray], keys: Mapping[bytes, bytes], opener: JoinedOpener
) -> Sequence[bytes | bytearray]:
    """What is in a page of sealed rows.

    Args:
        authenticated: by each of them, before the id of its subject.
        replies: of HSCAN, in pieces: ids of subjects and their sealed rows.
        keys: key-encryption keys by the header of the values that they open.
        opener: opens them.

    Returns:
        Lengths of the ids (u32 each), the ids, the lengths of the rows, the rows, and the tags of the sealed ones, each
        in the order of the page; nothing: one of them does not open.
    """
    columns: list[list[bytes | bytearray]] = [[], [], [], [], []]
    for ids, sealed in _pages_of(replies):  # one by one: what a page of them takes stays in the processor's own memory
        if min(map(len, sealed), default=LEAST_BYTES) < LEAST_BYTES:
            return ()
        try:
            rows = opener(keys, [authenticated + subject_id for subject_id in ids], sealed)
        except NotOpenedError:
            return ()
        lengths = array("I", [len(value) - LEAST_BYTES for value in sealed])
        tags = b"".join([value[-_TAG_BYTES:] for value in sealed])
        parts: list[bytes | bytearray] = [
            array("I", map(len, ids)).tobytes(),
            b"".join(ids),
            lengths.tobytes(),
            rows,
            tags,
        ]
        for column, part in zip(columns, parts, strict=True):
            column.append(part)
    return [b"".join(column) for column in columns]


def pairs_of(replies: Sequence[bytes | bytearray]) -> tuple[list[bytes], list[bytes]]:
    """Fields and values of some replies of HSCAN, in pieces."""
    fields: list[bytes] = []
    values: list[bytes] = []
    for some, theirs in _pages_of(replies):
        fields += some
        values += theirs
    return fields, values


def _pages_of(replies: Sequence[bytes | bytearray]) -> Iterator[tuple[list[bytes], list[bytes]]]:
    reader = hiredis.Reader(notEnoughData=None)
    for piece in replies:
        reader.feed(bytes(piece))
        while reply := reader.gets():
            told = reply[1]
            yield told[::2], told[1::2]


def serve() -> None:
    """Answer what comes over the socket, in its order, until it ends."""
    told = _received()
    keys = dict(zip(map(bytes, told[::2]), map(bytes, told[1::2]), strict=True))
    opener = fastest_joined_opener()
    _send(())  # ready
    while parts := _received():
        authenticated, *replies = parts
        _send(opened(bytes(authenticated), replies, keys, opener))


def main() -> None:
    """Serve the gallery."""
    gc.disable()  # nothing here refers to itself
    try:
        serve()
    except (BrokenPipeError, ConnectionResetError, EOFError):
        return  # the gallery is gone


def _received() -> list[bytearray]:
    """The parts of a message; none: it was the last one."""
    if len(head := os.read(_LINE, COUNT.size)) < COUNT.size:
        return []
    (count,) = COUNT.unpack(head)
    lengths = struct.unpack(f"<{count}Q", _exactly(8 * count))
    return [_exactly(length) for length in lengths]


def _exactly(count: int) -> bytearray:
    got = bytearray(count)
    left = memoryview(got)
    while left:
        if not (some := os.readv(_LINE, [left])):
            raise EOFError
        left = left[some:]
    return got


def _send(parts: Sequence[bytes | bytearray]) -> None:
    left = memoryview(b"".join(message_of(parts)))
    while left:
        left = left[os.write(_LINE, left) :]


if __name__ == "__main__":
    main()
