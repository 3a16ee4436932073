"""YAML as text to plain values: what YAML lets pass and a recipe must not (a key twice, `1e-3` as a word) is put right.

Knows no recipe; `typed_reading` checks what the values are. Never makes an object other than a plain one.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from tessera.domain.errors import InvalidInputError

MAX_BYTES = 1 << 16


class _Loader(yaml.SafeLoader):
    """Plain values, no key twice, numbers as people write them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1 takes 1e-3 for a word, since it lacks a dot.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse(text: str, source: str) -> dict[str, Any]:
    """Read a mapping.

    Args:
        text: of at most 64 KiB.
        source: where it is from, for the error.

    Raises:
        InvalidInputError: it is no YAML, or no mapping, or a key of it stands twice.
    """
    if len(text) > MAX_BYTES:
        raise InvalidInputError(source, f"{len(text)} characters", f"at most {MAX_BYTES}")
    try:
        made = yaml.load(text, _Loader)  # noqa: S506 - _Loader is a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidInputError(source, " ".join(str(error).split()), "YAML, each key once") from error
    if not isinstance(made, dict) or not all(isinstance(key, str) for key in made):
        raise InvalidInputError(source, made, "a mapping with words as keys")
    return made


def dump(value: object) -> str:
    """Plain values as YAML, in the order given."""
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)
    return text
