"""Who walks through the demo's scene when, and where they are at each moment: the same for the same seed, for ever.

The first round is fixed: somebody who is enrolled is in the picture from the start, the stranger comes after five
seconds, then the second enrolled person, then two at once. Later rounds vary order, direction, distance and pace.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

ROUND_S = 24.0
_STARTS_S = (0.0, 5.5, 11.0, 17.0, 17.6)
_HEAD_START_S = 1.2


@dataclass(frozen=True, slots=True)
class Walk:
    """One way of one walker through the picture."""

    walker: int
    """Index into the cast."""
    start_s: float
    duration_s: float
    rightwards: bool
    from_face_px: float
    """Height of the face where they enter."""
    to_face_px: float
    """And where they leave."""
    lane: float
    """Height of the face's centre, as a fraction of the picture's."""
    phase: float
    """Of the gait, in radians."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a walker is at one moment."""

    walker: int
    x: float
    """Of the face's centre, as a fraction of the picture's width; outside [0, 1] beyond its border."""
    y: float
    face_px: float
    tilt_deg: float
    gain: float
    """Of the light on them; 1 = as photographed."""
    speed: float
    """Picture widths a second; more is to the right."""


def poses_at(moment_s: float, walkers: int, seed: int) -> tuple[Pose, ...]:
    """Everybody who is in the picture, the furthest away first.

    Args:
        moment_s: since the scene began.
        walkers: how many there are in the cast.
        seed: of the variation.
    """
    number = int(moment_s // ROUND_S)
    walks = [walk for at in (number - 1, number) if at >= 0 for walk in walks_of_round(at, walkers, seed)]
    present = [walk for walk in walks if 0 <= moment_s - walk.start_s < walk.duration_s]
    return tuple(sorted((_pose(walk, moment_s) for walk in present), key=lambda pose: pose.face_px))


def walks_of_round(number: int, walkers: int, seed: int) -> tuple[Walk, ...]:
    """The walks that begin in one round."""
    chance = random.Random(seed * 1_000_003 + number)  # noqa: S311 - a scene, no secret
    order = list(range(walkers))
    if number > 0:
        chance.shuffle(order)
    pair = chance.sample(range(walkers), 2) if walkers > 1 else [0, 0]
    cast = [*(order[at % walkers] for at in range(3)), *pair]
    began_s = number * ROUND_S
    walks = [
        _walk(walker, began_s + start_s, chance, lane=0.40 + 0.05 * (at % 2))
        for at, (walker, start_s) in enumerate(zip(cast, _STARTS_S, strict=True))
    ]
    if number == 0:
        first = walks[0]
        walks[0] = Walk(
            first.walker, -_HEAD_START_S, 5.8, True, 150.0, 210.0, first.lane, first.phase
        )  # in the picture when the camera opens
    return tuple(walks)


def _walk(walker: int, start_s: float, chance: random.Random, lane: float) -> Walk:
    near, far = chance.uniform(170, 255), chance.uniform(100, 170)
    approaching = chance.random() < 0.6
    return Walk(
        walker=walker,
        start_s=start_s,
        duration_s=chance.uniform(4.6, 6.0),
        rightwards=chance.random() < 0.5,
        from_face_px=far if approaching else near,
        to_face_px=near if approaching else far,
        lane=lane + chance.uniform(-0.04, 0.04),
        phase=chance.uniform(0, 2 * math.pi),
    )


def _pose(walk: Walk, moment_s: float) -> Pose:
    since_s = moment_s - walk.start_s
    progress = since_s / walk.duration_s
    margin = 0.12
    x = -margin + (1 + 2 * margin) * progress
    gait = 2 * math.pi * 1.8 * since_s + walk.phase
    return Pose(
        walker=walk.walker,
        x=x if walk.rightwards else 1 - x,
        y=walk.lane + 0.006 * math.sin(gait),
        face_px=walk.from_face_px + (walk.to_face_px - walk.from_face_px) * progress,
        tilt_deg=3.5 * math.sin(gait / 2),
        gain=1.0 + 0.14 * math.sin(2 * math.pi * progress + walk.phase),
        speed=(1 if walk.rightwards else -1) * (1 + 2 * margin) / walk.duration_s,
    )
