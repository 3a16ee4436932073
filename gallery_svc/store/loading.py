"""`python -m gallery_svc.store.loading`: opens and cuts the rows of a load for the gallery that started it.

Keys and sealed rows come over the socket that is its standard input, and columns go back over the same one: nothing is
written anywhere, and it ends with the socket, which is the gallery's end as well. It imports so little that it begins
within 50 ms of the processor. What it cannot open it gives back, and the gallery says what is wrong with it.
"""

from __future__ import annotations

import gc
import signal
import socket
import struct
from array import array
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from gallery_svc.store.opening import LEAST_BYTES, NotOpenedError, ValueOpener, fastest_opener
from gallery_svc.store.row_cutting import MalformedError, RowColumns, cut_rows, pieces

COUNT = struct.Struct("<I")
"""How many parts a message has; then the length of each, as u64, and the parts."""


class RowRequest(NamedTuple):
    """Rows that are to be opened."""

    authenticated: bytes
    """What each of them authenticates before the id of its subject."""
    id_lengths: bytes
    """u32 each."""
    ids: bytes
    """Of the subjects, one behind the other."""
    value_lengths: bytes
    """u32 each."""
    values: bytes
    """Sealed, one behind the other; none is shorter than an empty one."""


def request_of(authenticated: bytes, ids: Sequence[bytes], sealed: Sequence[bytes]) -> RowRequest:
    """Rows of some subjects as a request."""
    id_lengths, value_lengths = array("I", map(len, ids)), array("I", map(len, sealed))
    return RowRequest(authenticated, id_lengths.tobytes(), b"".join(ids), value_lengths.tobytes(), b"".join(sealed))


def message_of(parts: Sequence[bytes]) -> list[bytes]:
    """Parts as what is sent."""
    return [COUNT.pack(len(parts)), struct.pack(f"<{len(parts)}Q", *map(len, parts)), *parts]


def columns_of(request: RowRequest, keys: dict[bytes, bytes], opener: ValueOpener) -> RowColumns | None:
    """A request's rows in columns; None: one of them does not open, or is to be read in another way."""
    value_lengths = array("I", request.value_lengths)
    if min(value_lengths, default=LEAST_BYTES) < LEAST_BYTES:
        return None
    authenticated = request.authenticated
    bound = [authenticated + subject_id for subject_id in pieces(request.ids, array("I", request.id_lengths))]
    try:
        return cut_rows(opener(keys, bound, pieces(request.values, value_lengths)))
    except (NotOpenedError, MalformedError):
        return None


def serve(line: socket.socket) -> None:
    """Answer what comes over a socket, in its order, until it ends."""
    with line, line.makefile("rb") as stream:
        opener = fastest_opener()
        told = _received(stream)
        keys = dict(zip(told[::2], told[1::2], strict=True))
        _send(line, ())  # ready
        while parts := _received(stream):
            _send(line, columns_of(RowRequest(*parts), keys, opener) or ())


def main() -> None:
    """Serve the gallery."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the gallery decides
    gc.disable()  # nothing here refers to itself
    try:
        serve(socket.socket(fileno=0))
    except (BrokenPipeError, ConnectionResetError, EOFError):
        return  # the gallery is gone


def _received(stream: BinaryIO) -> list[bytes]:
    """The parts of a message; none: it was the last one."""
    if len(head := stream.read(COUNT.size)) < COUNT.size:
        return []
    (count,) = COUNT.unpack(head)
    lengths = struct.unpack(f"<{count}Q", _exactly(stream, 8 * count))
    return [_exactly(stream, length) for length in lengths]


def _exactly(stream: BinaryIO, count: int) -> bytes:
    if len(got := stream.read(count)) < count:
        raise EOFError
    return got


def _send(line: socket.socket, parts: Sequence[bytes]) -> None:
    line.sendall(b"".join(message_of(parts)))


if __name__ == "__main__":
    main()
