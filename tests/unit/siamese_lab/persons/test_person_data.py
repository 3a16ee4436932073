"""The archive's splits, who is held out, and what other cameras do to a crop."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from person_world import TINY, archive_of, crop_of

from siamese_lab.persons.cameras import CameraChanges, seen_by_another, without_bars
from siamese_lab.persons.data import Split, read_con_reid, validation_people
from siamese_lab.persons.training import Batches
from tessera.domain.errors import InvalidInputError


def test_splits_are_read_apart(tmp_path: Path) -> None:
    """Pictures of one split, sorted, with the person of their name."""
    path = archive_of(tmp_path, {Split.TRAIN: range(1, 4), Split.PROBES: range(7, 9)}, 2)
    people = read_con_reid(path, Split.TRAIN)
    assert people.person.tolist() == [1, 1, 2, 2, 3, 3]
    assert list(people.names) == sorted(people.names)
    assert read_con_reid(path, Split.PROBES).crops.shape == (4, 128, 64, 3)
    with pytest.raises(InvalidInputError, match="con-reid/query"):
        read_con_reid(path, Split.GALLERY)
    with pytest.raises(InvalidInputError, match=r"nowhere\.tar"):
        read_con_reid(tmp_path / "nowhere.tar", Split.TRAIN)


def test_validation_people_have_pictures_enough_and_are_always_the_same() -> None:
    """Every ninth of those with 16 pictures; whoever has fewer is learned from."""
    person = np.concatenate([np.repeat(np.arange(20), 16), np.full(15, 99)])
    chosen = validation_people(np.random.default_rng(0).permutation(person))
    assert chosen.tolist() == [4, 13]


def test_black_bars_are_cut_off_and_a_black_crop_stays() -> None:
    """What is left is what serving sees: the box alone."""
    crop = crop_of(1, np.random.default_rng(1))
    assert without_bars(crop).shape == (128, 40, 3)
    assert without_bars(np.zeros((128, 64, 3), np.uint8)).shape == (128, 64, 3)
    dark = np.zeros((128, 64, 3), np.uint8)
    dark[40:90, 20:44] = 60  # less than half of every column: the median alone would see nothing
    assert without_bars(dark).shape == (50, 24, 3)


def test_another_camera_changes_a_crop_and_a_seed_repeats_it() -> None:
    """The same draws give the same crop, others another, and its size stays."""
    rng = np.random.default_rng(2)
    crop, other = crop_of(1, rng), crop_of(2, rng)
    always = replace(CameraChanges(), plain=0.0, gains=1.0)
    seen = [seen_by_another(crop, other, always, np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert seen[0].shape == crop.shape
    assert (seen[0] == seen[1]).all()
    assert (seen[0] != seen[2]).any()
    assert (seen[0] != crop).any()


def test_every_change_can_be_switched_off() -> None:
    """With every likelihood at 0 a crop stays as it is; each likelihood alone at 1 changes it."""
    rng = np.random.default_rng(2)
    crop, other = crop_of(1, rng), crop_of(2, rng)
    likelihoods = ("unboxed", "flip", "geometry", "cut", "gains", "tone", "colour", "gray", "resolution", "blur",
                   "smear", "noise", "compression", "occluded", "erased")  # fmt: skip
    assert set(likelihoods) <= {one.name for one in fields(CameraChanges)}
    off: dict[str, Any] = dict.fromkeys(likelihoods, 0.0)
    none = replace(CameraChanges(), plain=0.0, **off)
    assert (seen_by_another(crop, other, none, np.random.default_rng(1)) == crop).all()
    crop[30:50, 20:30] = 200  # a mirrored crop differs
    for name in likelihoods:
        on: dict[str, Any] = {name: 1.0}
        changed = seen_by_another(crop, other, replace(none, **on), np.random.default_rng(1))
        assert (changed != crop).any(), name


def test_a_batch_holds_its_people_and_repeats(tmp_path: Path) -> None:
    """Of each person so many, whoever has fewer pictures drawn again; the same step gives the same batch."""
    people = read_con_reid(archive_of(tmp_path, {Split.TRAIN: range(1, 4)}, 1), Split.TRAIN)
    batches = Batches(people, TINY)
    first, again, other = batches.draw(4), batches.draw(4), batches.draw(5)
    assert first.pictures.shape == (4, 3, 128, 64)
    assert np.bincount(first.classes, minlength=3).tolist().count(2) == 2
    assert (first.pictures == again.pictures).all()
    assert (first.pictures != other.pictures).any()
