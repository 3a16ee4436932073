"""Exported entries come back as they were, and a line that is no entry is refused by its number."""

from __future__ import annotations

import json

import pytest
from unit.trust.audit_world import honest_log

from tessera.domain.errors import InvalidInputError
from tessera.trust.entry_lines import entry_line, read_entries


def test_entries_come_back_as_they_were() -> None:
    """To the byte; empty lines do not count."""
    entries = honest_log()
    assert list(read_entries([*(entry_line(entry) for entry in entries), "\n"])) == entries


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": -1}, {"sequence": "1"}, {"sequence": True}, {"sequence": 2**63}, {"n": 1.0}, {"settled": None},
        {"given_up": [1]}, {"given_up": ["1", 2]}, {"given_up": 7}, {"writer": 7}, {"writer": "\ud800"}, {"log": None},
        {"entry": "*"}, {"entry": 7}, {"mac": ""}, {"mac": "AAAA"},
    ],
)  # fmt: skip
def test_a_line_that_is_no_entry_is_refused(change: dict[str, object]) -> None:
    """Whatever field it is; nothing of the line is shown."""
    lines = [entry_line(entry) for entry in honest_log()[:3]]
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    with pytest.raises(InvalidInputError, match="line 2"):
        list(read_entries(lines))


@pytest.mark.parametrize("line", ["[]", "{}", "7", "null", "{", "[" * 100_000, b"\xff\xfe"])
def test_other_text_is_refused(line: str | bytes) -> None:
    """And told as wrong input, not as a crash."""
    with pytest.raises(InvalidInputError, match="line 1"):
        list(read_entries([line]))
