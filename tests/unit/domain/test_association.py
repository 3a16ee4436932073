"""Faces go to persons: into a box that holds them, one to one, as many as can be, and as they fit best."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.association import holds, misfit, owners
from tessera.domain.observation import Box

PLACES = st.integers(0, 40).map(float)
SIDES = st.integers(1, 30).map(float)
BOXES = st.builds(Box, PLACES, PLACES, SIDES, SIDES)
PERSON = Box(100, 100, 80, 240)
FACE = Box(125, 110, 30, 40)


def _moved(box: Box, right_px: float, down_px: float = 0.0) -> Box:
    return Box(box.x_px + right_px, box.y_px + down_px, box.width_px, box.height_px)


def test_a_face_is_whose_box_holds_it() -> None:
    """Each of two who stand apart has their own; the order in which they come says nothing."""
    faces, persons = [_moved(FACE, 200), FACE], [PERSON, _moved(PERSON, 200)]
    assert owners(faces, persons) == (1, 0)


def test_a_face_on_a_poster_is_nobodys() -> None:
    """It lies in no box; neither does one of which most is outside."""
    assert owners([_moved(FACE, 300), _moved(FACE, 0, -40)], [PERSON]) == (None, None)


def test_two_who_overlap_have_a_face_each() -> None:
    """Both faces lie in both boxes: nearest first alone would leave one of them without."""
    behind = _moved(PERSON, 30, -20)
    assert owners([FACE, _moved(FACE, 30, -5)], [PERSON, behind]) == (0, 1)


def test_of_two_faces_in_one_box_the_better_placed_is_theirs() -> None:
    """A child held before the chest has a face too."""
    assert owners([_moved(FACE, 0, 100), FACE], [PERSON]) == (None, 0)


@pytest.mark.parametrize(("faces", "persons"), [((), (PERSON,)), ((FACE,), ()), ((), ())])
def test_without_faces_or_persons_there_is_nothing_to_say(faces: tuple[Box, ...], persons: tuple[Box, ...]) -> None:
    """One answer for each face all the same."""
    assert owners(faces, persons) == (None,) * len(faces)


def test_a_box_without_area_holds_nothing() -> None:
    """Nor is a face without area in any."""
    assert owners([FACE, Box(120, 120, 0, 0)], [Box(100, 100, 0, 200), PERSON]) == (1, None)


@given(st.lists(BOXES, max_size=5), st.lists(BOXES, max_size=5))
def test_no_person_has_two_faces_and_every_face_is_held(faces: list[Box], persons: list[Box]) -> None:
    """Whatever the boxes."""
    found = owners(faces, persons)
    taken = [place for place in found if place is not None]
    assert len(found) == len(faces)
    assert len(set(taken)) == len(taken)
    assert all(holds(persons[place], face) for face, place in zip(faces, found, strict=True) if place is not None)


@given(st.lists(BOXES, max_size=4), st.lists(BOXES, max_size=4))
def test_most_faces_are_placed_and_those_fit_best(faces: list[Box], persons: list[Box]) -> None:
    """Against every assignment that there is, one by one."""
    found = owners(faces, persons)
    assert _worth(faces, persons, found) == pytest.approx(
        max(_worth(faces, persons, one) for one in _all_assignments(len(faces), len(persons)))
    )


@given(st.lists(BOXES, max_size=4), st.lists(BOXES, max_size=4), PLACES, PLACES, st.sampled_from([0.5, 2.0]))
def test_where_the_picture_begins_and_its_size_say_nothing(
    faces: list[Box], persons: list[Box], right_px: float, down_px: float, factor: float
) -> None:
    """Boxes that are moved and scaled together are as well assigned as before."""
    moved = [[_moved(box.scaled(factor), right_px, down_px) for box in boxes] for boxes in (faces, persons)]
    found = owners(*moved)
    assert _worth(faces, persons, found) == pytest.approx(_worth(faces, persons, owners(faces, persons)))


def _all_assignments(faces: int, persons: int) -> list[tuple[int | None, ...]]:
    choices: list[int | None] = [*range(persons), *[None] * faces]
    return list(set(permutations(choices, faces)))


def _worth(faces: list[Box], persons: list[Box], found: tuple[int | None, ...]) -> float:
    pairs = [(persons[place], face) for face, place in zip(faces, found, strict=True) if place is not None]
    if not all(holds(person, face) for person, face in pairs):
        return -1.0
    return 1000.0 * len(pairs) - sum(misfit(person, face) for person, face in pairs)
