"""Signatures of people who do not exist, as if they lay in an archive: for a network taught on no set at all.

The hands are those of `tessera.demo.signatures`. What they teach is how pens move, not how people differ: the card of
the shipped encoder tells how far that carries.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from siamese_lab.signatures.data import SignatureFile
from tessera.demo.signatures import Hand, draw, invent_forger, invent_hand, sign

FIRST_WRITER = 10_001


def invented_signatures(writers: int, each: int = 12, seed: int = 20261122) -> Iterator[SignatureFile]:
    """Genuine signatures and skilled forgeries of invented writers.

    Args:
        writers: how many.
        each: genuine ones, and as many forgeries, of each.
        seed: the same one gives the same signatures.
    """
    for writer in range(FIRST_WRITER, FIRST_WRITER + writers):
        rng = np.random.default_rng((seed, writer))
        hand = invent_hand(rng)
        forger = invent_forger(hand, rng)
        for forged, signing in ((False, hand), (True, forger)):
            for number in range(each):
                name = f"invented_{writer}_{'f' if forged else 'g'}_{number:02d}.png"
                yield SignatureFile(name, writer, forged, _png(signing, rng))


def _png(hand: Hand, rng: np.random.Generator) -> bytes:
    return cv2.imencode(".png", draw(sign(hand, rng)))[1].tobytes()
