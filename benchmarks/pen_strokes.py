"""Made-up signatures as a pen's strokes: a large first letter, rows of loops, gaps, flourishes, dots."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Rng = np.random.Generator
Strokes = npt.NDArray[np.float32]
"""(height, width): how much of the paper each pixel's ink hides, 0 to 1."""


def pen_signature(rng: Rng) -> Strokes:
    """A made-up signature: a large first letter, a row of loops, perhaps a second word, perhaps a flourish."""
    words = int(rng.integers(1, 4))
    slant, wide = rng.normal(0.25, 0.2), rng.uniform(0.7, 1.4)
    strokes, x = [], 0.0
    for _ in range(words):
        strokes.append(_capital(x, rng))
        x += rng.uniform(0.5, 1.1) * wide
        word = _loops(x, int(rng.integers(2, 9)), wide, rng)
        strokes.append(word)
        x = float(word[:, 0].max()) + rng.uniform(0.2, 0.7)
    if rng.random() < 0.5:
        strokes.append(_flourish(x, rng))
    if rng.random() < 0.5:
        strokes.append(np.array([[x * 0.6, -1.2], [x * 0.6 + 0.05, -1.15]]))
    slope = np.deg2rad(rng.normal(2.0, 4.0))
    shear = np.array([[1.0, -slant], [0.0, 1.0]])
    turn = np.array([[np.cos(slope), np.sin(slope)], [-np.sin(slope), np.cos(slope)]])
    return _inked([stroke @ shear.T @ turn.T for stroke in strokes], rng)


def _capital(x: float, rng: Rng) -> npt.NDArray[np.float64]:
    t = np.linspace(0.0, rng.uniform(1.2, 2.2) * np.pi, 60) + rng.uniform(0, 2 * np.pi)
    bend = rng.uniform(0.5, 1.5)
    return np.stack(
        (x + 0.45 * np.sin(t) + 0.1 * t * rng.uniform(0, 1), -0.7 + rng.uniform(0.7, 1.1) * np.cos(bend * t)), 1
    )


def _loops(x: float, count: int, wide: float, rng: Rng) -> npt.NDArray[np.float64]:
    t = np.linspace(0.0, count * 2 * np.pi, count * 24)
    knots = np.linspace(0, t[-1], count + 1)
    heights = np.interp(t, knots, rng.uniform(0.12, 0.45, count + 1) + 0.7 * (rng.random(count + 1) < 0.2))
    rounds = np.interp(t, knots, rng.uniform(-0.05, 0.32, count + 1))
    lift = np.interp(t, knots, np.cumsum(rng.normal(0, 0.04, count + 1)))
    return np.stack((x + t / (2 * np.pi) * 0.42 * wide + rounds * np.sin(t), lift - heights * (1 - np.cos(t)) / 1.2), 1)


def _flourish(x: float, rng: Rng) -> npt.NDArray[np.float64]:
    t = np.linspace(0.0, 1.0, 50)
    return np.stack((x * (1.05 - rng.uniform(0.6, 1.1) * t), 0.35 + 0.25 * np.sin(rng.uniform(1, 5) * t) - 0.3 * t), 1)


def _inked(strokes: list[npt.NDArray[np.float64]], rng: Rng) -> Strokes:
    everything = np.concatenate(strokes)
    low, high = everything.min(0), everything.max(0)
    width_px = rng.uniform(260, 560)
    scale = min(width_px / (high[0] - low[0]), 190.0 / (high[1] - low[1]))
    room = 8
    size = np.ceil((high - low) * scale).astype(int) + 2 * room
    pen_px = min(rng.uniform(2.5, 5.5), 0.055 * float(size[1]))
    ink = np.zeros((size[1], size[0]), np.uint8)
    for stroke in strokes:
        points = (stroke - low) * scale + room
        speed = np.linalg.norm(np.diff(points, axis=0), axis=1)
        for start, end, fast in zip(points[:-1], points[1:], speed / max(speed.mean(), 1e-6), strict=True):
            thick = max(1, round(pen_px * (1.25 - 0.25 * min(fast, 2.0))))
            ends = [tuple(int(v) for v in np.round(point * 16)) for point in (start, end)]
            cv2.line(ink, ends[0], ends[1], 255, thick, cv2.LINE_AA, 4)
    return ink.astype(np.float32) / 255.0
