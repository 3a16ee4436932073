"""Detections are counted one box a person, and HOG is given the threshold that suits it best."""

from __future__ import annotations

import json

import pytest

from benchmarks.person.detection import DRAWN, Found, best, drawn_boxes, tally
from tessera.domain.observation import Box

PLACE = ("clip", 7)
ADA, BOB = Box(0, 0, 40, 100), Box(100, 0, 40, 100)
DRAWN_THERE = {PLACE: [ADA, BOB]}


def _found(*boxes: tuple[Box, float]) -> dict[tuple[str, int], list[Found]]:
    return {PLACE: [Found(box, sure) for box, sure in boxes]}


def test_a_person_is_found_once() -> None:
    """A second box of the same person is one too many; one that covers less than half is nobody's."""
    near, far = Box(2, 3, 40, 100), Box(120, 50, 40, 100)
    counted = tally(DRAWN_THERE, _found((ADA, 0.9), (near, 0.8), (far, 0.7)), 0.0)
    assert (counted.persons, counted.right, counted.boxes) == (2, 1, 3)
    assert counted.recall == pytest.approx(1 / 2)
    assert counted.precision == pytest.approx(1 / 3)
    assert counted.f1 == pytest.approx(2 / 5)


def test_what_is_not_sure_enough_does_not_count() -> None:
    """At or below the threshold."""
    counted = tally(DRAWN_THERE, _found((ADA, 0.9), (BOB, 0.4)), 0.4)
    assert (counted.right, counted.boxes) == (1, 1)


def test_the_best_threshold_of_the_best_way_is_taken() -> None:
    """Here the second way, without its weakest box."""
    poor = _found((ADA, 2.0), (Box(300, 0, 40, 100), 1.9), (Box(400, 0, 40, 100), 1.8))
    good = _found((ADA, 1.5), (BOB, 0.7), (Box(300, 0, 40, 100), 0.2))
    chosen = best(DRAWN_THERE, [poor, good])
    assert (chosen.right, chosen.boxes) == (2, 2)


def test_every_drawn_box_lies_in_its_frame() -> None:
    """And the file says how the boxes were drawn."""
    sizes = {"vtest.avi": (768, 576), "one-by-one-person-detection.mp4": (768, 432)}
    drawn = drawn_boxes()
    assert sum(map(len, drawn.values())) == 89
    for (clip, _), boxes in drawn.items():
        width_px, height_px = sizes[clip]
        for box in boxes:
            assert box.shorter_side_px > 0
            assert box.share_within(Box(0, 0, width_px, height_px)) == 1.0
    assert "by eye" in json.loads(DRAWN.read_text(encoding="utf-8"))["method"]
