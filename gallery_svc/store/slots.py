"""The hash tag of a key and its slot: what decides which server of a cluster holds it.

Source: https://valkey.io/topics/cluster-spec/ (key distribution model, hash tags)
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence

SLOTS = 16384


def tag_of(key: str) -> str:
    """What of a key is hashed: the text in its first braces, or all of it."""
    start = key.find("{")
    end = key.find("}", start + 1)
    return key[start + 1 : end] if start >= 0 and end > start + 1 else key


def shared_tag(keys: Sequence[str]) -> str:
    """The one tag of a script's keys.

    Raises:
        ValueError: there is no key, or they have several tags: only one server would say so, and a single one never.
    """
    tags = {tag_of(key) for key in keys}
    if len(tags) != 1:
        raise ValueError(f"the keys of one script share a hash tag; these have {len(tags)}")
    return tags.pop()


def slot_of(tag: str) -> int:
    """The slot of a tag, or of a key: CRC16 (XMODEM) of the tag, modulo 16384."""
    return crc_hqx(tag_of(tag).encode(), 0) % SLOTS
