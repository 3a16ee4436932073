"""The demo's signature desk: somebody invented leaves five references, then signs once more; so does a forger."""

from __future__ import annotations

import cv2
import numpy as np

from tessera.cli.words import decision_text
from tessera.client import Tessera
from tessera.client.errors import NotFound
from tessera.demo.signatures import Hand, draw, invent_forger, invent_hand, sign
from tessera.domain.default_collections import DEFAULT_COLLECTIONS
from tessera.domain.embedding import Modality

WRITER = "demo-writer"
REFERENCES = 5
_COLLECTION = DEFAULT_COLLECTIONS[Modality.SIGNATURE]
_SEED = 15
"""Of a hand whose forger does badly, so that anybody can see it. Others are better, and some of theirs would pass."""
_CONSENT = "a hand that the demo has invented"


def show_signatures(tessera: Tessera) -> list[str]:
    """Enrol an invented writer once, and verify a signature of theirs and a forgery.

    Args:
        tessera: the connection.

    Returns:
        A line for each decision.

    Raises:
        TesseraCallError: the gallery refused or did not answer.
    """
    rng = np.random.default_rng(_SEED)
    hand = invent_hand(rng)
    references = [_picture(hand, rng) for _ in range(REFERENCES)]
    genuine, forged = _picture(hand, rng), _picture(invent_forger(hand, rng), rng)
    if not _is_enrolled(tessera):
        tessera.enroll(
            WRITER, references, collection_id=_COLLECTION, display_name="Demo Writer", consent_reference=_CONSENT
        )
    return [
        f"signature desk, {what}: {decision_text(tessera.verify(WRITER, picture, collection_id=_COLLECTION), WRITER)}"
        for what, picture in (("the writer signs", genuine), ("somebody imitates it", forged))
    ]


def _is_enrolled(tessera: Tessera) -> bool:
    try:
        return bool(tessera.get_subject(WRITER, collection_id=_COLLECTION).templates)
    except NotFound:
        return False


def _picture(hand: Hand, rng: np.random.Generator) -> bytes:
    return cv2.imencode(".png", draw(sign(hand, rng)))[1].tobytes()
