"""Invented writers and their signatures, small enough for tests."""

from __future__ import annotations

from functools import cache

import numpy as np

from siamese_lab.signatures.canvases import ENLARGED, Canvases
from tessera.demo.signatures import Hand, draw, invent_forger, invent_hand, sign
from tessera.imaging.ink import find_ink
from tessera.imaging.signature import lay_on_canvas


@cache
def canvases(writers: int = 3, genuine: int = 4, forged: int = 4, seed: int = 1) -> Canvases:
    """Canvases of invented writers, numbered from 1."""
    rng = np.random.default_rng(seed)
    small, large, writer, kind = [], [], [], []
    for number in range(1, writers + 1):
        hand = invent_hand(rng)
        forger = invent_forger(hand, rng)
        for hands, is_forged, count in ((hand, False, genuine), (forger, True, forged)):
            for _ in range(count):
                one, enlarged = _both(hands, rng)
                small.append(one)
                large.append(enlarged)
                writer.append(number)
                kind.append(is_forged)
    return Canvases(np.stack(small), np.stack(large), np.array(writer, np.int64), np.array(kind, np.bool_))


def _both(hand: Hand, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    ink = find_ink(draw(sign(hand, rng)))
    one, enlarged = (lay_on_canvas(ink.mask, ink.box_px, ink.stroke_width_px, times) for times in (1, ENLARGED))
    return one, enlarged
