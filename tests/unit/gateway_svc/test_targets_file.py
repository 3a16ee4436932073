"""The file of targets: what it may say, and how it is told what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway_svc.happenings import Kind, Severity
from gateway_svc.targets import Flood, Late, Only, Target, Webhook
from gateway_svc.targets_file import parse_targets, read_targets
from tessera.chassis.settings import Secret
from tessera.domain.errors import InvalidInputError
from tests.gateway_world import SECRET, alert

DOOR: dict[str, Any] = {"name": "door", "type": "webhook", "url": "https://door.example/hook", "secret": SECRET}


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    """Every field, with secrets out of the environment, which never show themselves."""
    path = tmp_path / "targets.yaml"
    path.write_text(
        """
targets:
  - name: door
    type: webhook
    url: https://${HOST}/hook
    secret: ["${NEW_SECRET}", "${DOOR_SECRET}"]
    only: {kinds: [alert, camera], severity: warning, cameras: [yard], rules: [strangers]}
    late: deliver
    give_up_after_s: 600
    timeout_s: 2.5
    at_a_time: 2
    flood: {messages: 5, per_s: 60}
"""
    )
    new = SECRET[::-1]
    (target,) = read_targets(path, {"HOST": "door.example", "DOOR_SECRET": SECRET, "NEW_SECRET": new})
    assert target == Target(
        name="door",
        way=Webhook("https://door.example/hook", (Secret(new), Secret(SECRET))),
        only=Only(
            frozenset({Kind.ALERT, Kind.CAMERA}), Severity.WARNING, frozenset({"yard"}), frozenset({"strangers"})
        ),
        late=Late.DELIVER,
        give_up_after_s=600,
        timeout_s=2.5,
        at_a_time=2,
        flood=Flood(5, 60),
    )
    assert SECRET not in repr(target)


def test_defaults_are_the_careful_ones() -> None:
    """Alerts alone, nothing late, and a limit to floods."""
    (target,) = parse_targets({"targets": [DOOR]}, {})
    assert target.only == Only()
    assert target.late is Late.EXPIRE
    assert target.flood_limit == Webhook.flood
    assert parse_targets({}, {}) == ()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"lates": "deliver"}, "targets[0].lates"),
        ({"late": "always"}, "targets[0].late"),
        ({"type": "pigeon"}, "targets[0].type"),
        ({"name": "the door"}, "targets[0].name"),
        ({"name": None}, "targets[0].name"),
        ({"url": "ftp://door.example"}, "targets[0].url"),
        ({"url": "https://${NOBODY}/"}, "targets[0].url"),
        ({"secret": "short"}, "targets[0].secret"),
        ({"secret": []}, "targets[0].secret"),
        ({"timeout_s": 0}, "targets[0].timeout_s"),
        ({"timeout_s": "5 s"}, "targets[0].timeout_s"),
        ({"only": {"kinds": ["test"]}}, "targets[0].only.kinds"),
        ({"only": {"severity": "bad"}}, "targets[0].only.severity"),
        ({"only": {"camera": "yard"}}, "targets[0].only.camera"),
        ({"flood": {"messages": 0}}, "targets[0].flood.messages"),
        ({"flood": 5}, "targets[0].flood"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(change: dict[str, Any], field: str) -> None:
    """With its place in the file; a secret is not shown, nor a value that may be one."""
    with pytest.raises(InvalidInputError) as error:
        parse_targets({"targets": [{**DOOR, **change}]}, {})
    assert error.value.field == field
    assert SECRET not in str(error.value)
    assert "short" not in str(error.value)


def test_a_name_is_given_once() -> None:
    """It is part of the deduplication key."""
    with pytest.raises(InvalidInputError, match="no other target") as error:
        parse_targets({"targets": [DOOR, DOOR]}, {})
    assert error.value.field == "targets[1].name"


@pytest.mark.parametrize("text", ["targets: [", "- a list", "\x00"], ids=["cut off", "a list", "no text"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    """And one that is missing."""
    path = tmp_path / "targets.yaml"
    path.write_text(text)
    for wrong in (path, tmp_path / "missing.yaml"):
        with pytest.raises(InvalidInputError):
            read_targets(wrong, {})


def test_a_target_is_told_of_what_it_asked_for() -> None:
    """Kinds, cameras, rules and the least severity."""
    bad, mild = alert(severity="CRITICAL"), alert(severity="INFO")
    assert Only().takes(mild)
    assert [Only(severity=Severity.WARNING).takes(one) for one in (bad, mild)] == [True, False]
    assert not Only(cameras=frozenset({"gate"})).takes(bad)
    assert not Only(rules=frozenset({"others"})).takes(bad)
    assert not Only(kinds=frozenset({Kind.CAMERA})).takes(bad)
