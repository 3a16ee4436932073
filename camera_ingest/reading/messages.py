"""What a reader and its parent say to each other: JSON behind its length, over one stream socket.

The reader says `opened`, `frame`, `alive`, `ended` and `lost`. The parent says one byte, `MORE`, for each frame that it
has room for: what the reader samples in between replaces what it holds, so that the newest wins and nothing queues.
Pixels lie in memory that both map; a message only tells that they are there, and they stay until the next `MORE`.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

MORE = b"m"
MAX_MESSAGE_BYTES = 64 * 1024
_LENGTH = struct.Struct("!I")

Message = Mapping[str, Any]


class ClosedError(Exception):
    """The other side is gone."""


def send_message(channel: socket.socket, message: Message) -> None:
    """Send one message.

    Raises:
        ClosedError: nobody reads any more.
    """
    text = json.dumps(message).encode()
    try:
        channel.sendall(_LENGTH.pack(len(text)) + text)
    except OSError as error:
        raise ClosedError from error


class MessageReader:
    """Reads messages as they come, one slice of waiting at a time.

    Args:
        channel: of which nobody else reads.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._buffer = bytearray()

    def next_message(self, wait_s: float) -> Message | None:
        """The next message; None when it did not come in time.

        Raises:
            ClosedError: the other side is gone, or speaks no such language.
        """
        self._channel.settimeout(wait_s)
        while True:
            message = self._whole_message()
            if message is not None:
                return message
            try:
                data = self._channel.recv(MAX_MESSAGE_BYTES)
            except TimeoutError:
                return None
            except OSError as error:
                raise ClosedError from error
            if not data:
                raise ClosedError
            self._buffer += data

    def _whole_message(self) -> Message | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > MAX_MESSAGE_BYTES:
            raise ClosedError
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        text = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        try:
            message = json.loads(text)
        except ValueError:
            raise ClosedError from None
        if not isinstance(message, dict):
            raise ClosedError
        return message
