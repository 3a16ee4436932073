"""Signatures that nobody wrote: invented hands, their genuine signatures, and forgeries of them, drawn on paper.

For tests, the demo, and training without anybody's data. A hand is a plan of points; the pen goes from one to the next
in strokes whose speed is a log-normal of time, and what it draws is their sum, as in the kinematic theory of rapid
movements. A skilled forger follows the same plan: with other proportions, slower, and with a tremor. No figure measured
on these says anything about people.

Source: Plamondon, "A kinematic theory of rapid human movements", Biological Cybernetics 72 (1995); O'Reilly and
Plamondon, "Development of a Sigma-Lognormal representation for on-line signatures", Pattern Recognition 42 (2009).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from tessera.imaging.decode import Image

HEIGHT_PX, WIDTH_PX = 400, 1000
"""Of the paper."""

_STEP_S = 0.004
_SUBPIXEL_BITS = 4

Points = npt.NDArray[np.float64]
"""(n, 2): x to the right, y downwards; 1 is the height of a small letter."""


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """What a pen draws between being set down and lifted."""

    plan: Points
    """(n + 1, 2): where the strokes begin and end."""
    bend: npt.NDArray[np.float64]
    """(n,): the angle, in radians, by which each stroke turns on its way."""


@dataclass(frozen=True, slots=True, eq=False)
class Hand:
    """How one writer signs."""

    components: tuple[Component, ...]
    slant: float
    """How far right per unit up."""
    pace_s: float
    """Between the beginnings of two strokes."""
    sharpness: float
    """sigma of the log-normals: the higher, the more a stroke flows into the next."""
    pen_px: float
    """Width of the pen."""
    unsteadiness: float
    """Standard deviation of the plan's points from one signature to the next."""
    tremor: float = 0.0
    """Amplitude of a shaking hand, at about 9 Hz."""


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """The pen's way in one signature."""

    components: tuple[Points, ...]
    speed: tuple[npt.NDArray[np.float64], ...]
    """Of the pen at each of the points."""
    pen_px: float


def invent_hand(rng: np.random.Generator) -> Hand:
    """A writer: one to three names of two to six letters, and sometimes a line under them."""
    components: list[Component] = []
    left, names = 0.0, int(rng.integers(1, 4))
    for _ in range(names):
        for length in _split(int(rng.integers(5, 16)) + (6 if names == 1 else 0), rng):
            component = _component(left, length, rng)
            components.append(component)
            left = float(component.plan[-1, 0]) + rng.uniform(0.05, 0.5)
        left += rng.uniform(0.5, 1.2)
    if rng.random() < 0.4:
        components.append(_underline(left, rng))
    return Hand(
        tuple(components),
        slant=float(rng.normal(0.25, 0.25)),
        pace_s=float(rng.uniform(0.08, 0.13)),
        sharpness=float(rng.uniform(0.22, 0.4)),
        pen_px=float(rng.uniform(3.0, 6.5)),
        unsteadiness=float(rng.uniform(0.03, 0.07)),
    )


def invent_forger(hand: Hand, rng: np.random.Generator) -> Hand:
    """Somebody who has practised a hand: the same plan with proportions of their own, slower, and shaking a little.

    Args:
        hand: that is imitated.
        rng: draws the forger, who may then sign many times.
    """
    stretch = np.exp(rng.normal(0.0, 0.1, 2))
    components = tuple(_imitated(component, stretch, rng) for component in hand.components)
    return replace(
        hand,
        components=components,
        slant=hand.slant + float(rng.normal(0.0, 0.1)),
        pace_s=hand.pace_s * float(rng.uniform(1.2, 1.9)),
        sharpness=hand.sharpness * float(rng.uniform(0.7, 1.1)),
        pen_px=float(rng.uniform(3.0, 6.5)),
        unsteadiness=hand.unsteadiness * float(rng.uniform(0.9, 1.4)),
        tremor=float(rng.uniform(0.005, 0.03)),
    )


def sign(hand: Hand, rng: np.random.Generator) -> Trajectory:
    """One signature of a hand, genuine or a forger's; no two are alike."""
    stretch, slant = np.exp(rng.normal(0.0, 0.03, 2)), hand.slant + rng.normal(0.0, 0.03)
    turn = rng.normal(0.0, 0.02)
    drawn = [_written(_varied(component, hand, rng), hand, rng) for component in hand.components]
    lean = np.array([[stretch[0], -slant * stretch[1]], [0.0, stretch[1]]])
    turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) @ lean
    return Trajectory(
        tuple(points @ turned.T for points, _ in drawn),
        tuple(speed for _, speed in drawn),
        hand.pen_px * float(np.exp(rng.normal(0.0, 0.05))),
    )


def draw(
    trajectory: Trajectory, ink: tuple[int, int, int] = (30, 30, 30), paper: tuple[int, int, int] = (250, 250, 250)
) -> Image:
    """Draw a signature: thinner where the pen was fast.

    Args:
        trajectory: of the pen.
        ink: blue, green, red.
        paper: likewise.

    Returns:
        uint8 (400, 1000, 3), blue, green, red.
    """
    picture: Image = np.full((HEIGHT_PX, WIDTH_PX, 3), paper, np.uint8)
    everything = np.concatenate(trajectory.components)
    low, high = everything.min(0), everything.max(0)
    room = np.array([WIDTH_PX, HEIGHT_PX]) * 0.84
    scale = float(np.minimum(room / np.maximum(high - low, 1e-6), 70.0).min())
    shift = np.array([WIDTH_PX, HEIGHT_PX]) / 2.0 - scale * (low + high) / 2.0
    usual = float(np.median(np.concatenate(trajectory.speed)))
    for points, speed in zip(trajectory.components, trajectory.speed, strict=True):
        places = np.round((points * scale + shift) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        widths = trajectory.pen_px * np.clip(1.25 - 0.25 * speed / max(usual, 1e-9), 0.6, 1.3)
        for at in range(len(places) - 1):
            width = max(1, round(float(widths[at])))
            cv2.line(picture, places[at].tolist(), places[at + 1].tolist(), ink, width, cv2.LINE_AA, _SUBPIXEL_BITS)
    return picture


def _split(strokes: int, rng: np.random.Generator) -> list[int]:
    """A name in one go, or in two."""
    if strokes < 8 or rng.random() < 0.5:
        return [strokes]
    first = int(rng.integers(3, strokes - 3))
    return [first, strokes - first]


def _component(left: float, strokes: int, rng: np.random.Generator) -> Component:
    """Letters: up and down between the baseline and the height of small letters, some higher, some lower."""
    forward = rng.gamma(4.0, 0.1, strokes + 1) * np.where(np.arange(strokes + 1) % 2, 0.7, 1.3)
    backward = rng.random(strokes + 1) < 0.12
    x = left + np.cumsum(np.where(backward, -0.5, 1.0) * forward)
    heights = np.where(
        np.arange(strokes + 1) % 2, rng.normal(1.0, 0.12, strokes + 1), rng.normal(0.0, 0.1, strokes + 1)
    )
    high, low = rng.random(strokes + 1) < 0.2, rng.random(strokes + 1) < 0.12
    heights = heights + np.where(high & (heights > 0.5), rng.uniform(0.6, 1.4), 0.0)
    heights = heights - np.where(low & (heights < 0.5), rng.uniform(0.5, 1.1), 0.0)
    heights[0] += rng.uniform(0.0, 1.5) * (rng.random() < 0.6)
    bend = rng.normal(0.9, 0.5, strokes) * np.where(np.arange(strokes) % 2, -1.0, 1.0) * rng.choice([-1.0, 1.0])
    return Component(np.column_stack((x, -heights)), bend)


def _underline(right: float, rng: np.random.Generator) -> Component:
    start, end = right * rng.uniform(0.0, 0.3), right * rng.uniform(0.8, 1.1)
    below, rise = rng.uniform(0.6, 1.2), rng.normal(0.0, 0.3)
    return Component(np.array([[start, below], [end, below - rise]]), np.array([rng.normal(0.0, 0.5)]))


def _imitated(component: Component, stretch: npt.NDArray[np.float64], rng: np.random.Generator) -> Component:
    plan = component.plan * stretch + rng.normal(0.0, 0.1, component.plan.shape)
    return Component(plan, component.bend * rng.uniform(0.75, 1.1) + rng.normal(0.0, 0.15, component.bend.shape))


def _varied(component: Component, hand: Hand, rng: np.random.Generator) -> Component:
    shaken = component.plan + rng.normal(0.0, hand.unsteadiness, component.plan.shape)
    shaken += rng.normal(0.0, hand.unsteadiness, 2)
    return Component(shaken, component.bend + rng.normal(0.0, 1.2 * hand.unsteadiness, component.bend.shape))


def _written(component: Component, hand: Hand, rng: np.random.Generator) -> tuple[Points, npt.NDArray[np.float64]]:
    """The sum of log-normal strokes along a plan: places and speeds at every 4 ms."""
    chords = np.diff(component.plan, axis=0)
    count = len(chords)
    half = component.bend / 2.0
    # An arc that turns by `bend` is longer than its chord by this.
    lengths = np.hypot(chords[:, 0], chords[:, 1]) * np.where(np.abs(half) > 1e-3, half / np.sin(half + 1e-12), 1.0)
    heading = np.arctan2(chords[:, 1], chords[:, 0])
    begin = np.cumsum(hand.pace_s * np.exp(rng.normal(0.0, 0.06, count)))
    mu = math.log(1.6 * hand.pace_s) + rng.normal(0.0, 0.03, count)
    sigma = hand.sharpness * np.exp(rng.normal(0.0, 0.05, count))
    times = np.arange(0.0, float(begin[-1]) + 6.0 * hand.pace_s, _STEP_S)[:, None]
    logs = np.log(np.maximum(times - begin, 1e-9))
    share = _normal_cdf((logs - mu) / sigma)
    travelled = np.diff(share, axis=0, prepend=0.0) * lengths
    direction = heading - half + component.bend * share
    moves = np.column_stack(((travelled * np.cos(direction)).sum(1), (travelled * np.sin(direction)).sum(1)))
    speed = np.hypot(moves[:, 0], moves[:, 1]) / _STEP_S
    path = component.plan[0] + np.cumsum(moves, axis=0)
    going = slice(*_moving(speed))
    return path[going] + _tremor(times[going, 0], hand.tremor, rng), speed[going]


def _moving(speed: npt.NDArray[np.float64]) -> tuple[int, int]:
    moving = np.flatnonzero(speed > 0.01 * speed.max())
    return int(moving[0]), max(int(moving[-1]) + 1, int(moving[0]) + 2)


def _tremor(times: npt.NDArray[np.float64], amplitude: float, rng: np.random.Generator) -> Points:
    phases, rates = rng.uniform(0.0, 2.0 * np.pi, (2, 2)), rng.uniform(7.0, 12.0, (2, 2))
    waves = np.sin(2.0 * np.pi * rates * times[:, None, None] + phases).sum(1)
    shaking: Points = amplitude * waves
    return shaking


def _normal_cdf(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of the standard normal distribution, to 1.5e-7. Source: Abramowitz and Stegun, 7.1.26."""
    z = np.abs(x) / math.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * z)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = 0.5 * poly * np.exp(-z * z)
    below: npt.NDArray[np.float64] = np.where(x < 0.0, tail, 1.0 - tail)
    return below
