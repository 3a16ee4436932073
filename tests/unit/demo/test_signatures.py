"""Invented signatures: repeatable, alike where they should be, and different where they should be."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.demo.signatures import HEIGHT_PX, WIDTH_PX, Hand, Trajectory, draw, invent_forger, invent_hand, sign


def hands(count: int = 12) -> list[Hand]:
    """Invented hands."""
    rng = np.random.default_rng(11)
    return [invent_hand(rng) for _ in range(count)]


def way(trajectory: Trajectory) -> np.ndarray:
    """40 places along each component, centred and brought to size: what two signatures are compared by."""
    places = [part[np.linspace(0, len(part) - 1, 40).astype(int)] for part in trajectory.components]
    joined = np.concatenate(places)
    centred = joined - joined.mean(0)
    return centred / np.linalg.norm(centred)


def apart(first: Trajectory, second: Trajectory) -> float:
    """Distance of the ways of two signatures with the same components."""
    return float(np.linalg.norm(way(first) - way(second)))


def test_the_same_seed_signs_the_same() -> None:
    """A hand and a signature come from their generator alone."""
    hand = hands(1)[0]
    first, second = (sign(hand, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(draw(first), draw(second))


def test_no_two_signatures_are_alike() -> None:
    """A genuine signature varies from one time to the next."""
    hand, rng = hands(1)[0], np.random.default_rng(3)
    assert not np.array_equal(draw(sign(hand, rng)), draw(sign(hand, rng)))


def test_forgeries_are_farther_than_genuine_signatures() -> None:
    """Over many hands, two genuine signatures are closer to each other than a skilled forgery is."""
    rng = np.random.default_rng(4)
    genuine, forged = [], []
    for hand in hands():
        forger = invent_forger(hand, rng)
        reference = sign(hand, rng)
        genuine.append(apart(reference, sign(hand, rng)))
        forged.append(apart(reference, sign(forger, rng)))
    assert np.mean(genuine) < 0.8 * np.mean(forged)


def test_a_forger_is_slower() -> None:
    """The same plan takes a forger longer."""
    rng = np.random.default_rng(5)
    for hand in hands():
        assert invent_forger(hand, rng).pace_s > hand.pace_s


def test_the_pen_stays_on_the_paper() -> None:
    """Ink is there, keeps off the edges, and is a small part of the paper."""
    rng = np.random.default_rng(6)
    for hand in hands():
        picture = draw(sign(hand, rng))
        assert picture.shape == (HEIGHT_PX, WIDTH_PX, 3)
        inked = picture.min(2) < 128
        assert 0.001 < inked.mean() < 0.15
        assert not inked[:10].any()
        assert not inked[:, :10].any()


def test_strokes_end_where_they_are_planned() -> None:
    """Without variation, slant or tremor, the sum of the strokes leads from the plan's first point to its last."""
    for hand in hands():
        steady = Hand(hand.components, 0.0, hand.pace_s, hand.sharpness, hand.pen_px, unsteadiness=0.0)
        for component in steady.components:
            alone = Hand((component,), 0.0, hand.pace_s, hand.sharpness, hand.pen_px, unsteadiness=0.0)
            path = sign(alone, np.random.default_rng(7)).components[0]
            planned = component.plan[-1] - component.plan[0]
            assert np.linalg.norm(path[-1] - path[0]) == pytest.approx(np.linalg.norm(planned), rel=0.35, abs=0.25)
