"""One encoder over one standard set: the numbers that papers print, with what has to be said beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from siamese_lab.persons.cameras import without_bars
from siamese_lab.persons.protocols import Picture, ReidSet, seen_on
from siamese_lab.persons.reranking import rerank
from tessera.domain.errors import InvalidInputError
from tessera.domain.ranking import Ranking, rank_gallery
from tessera.imaging.decode import Image
from tessera.imaging.person import fit_crop

Vectors = npt.NDArray[np.float32]
EmbedCrops = Callable[[npt.NDArray[np.uint8]], Vectors]
"""(n, 128, 64, 3) to unit vectors (n, d)."""

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Measured:
    """What became of a set."""

    protocol: str
    encoder: str
    learned_on: str
    """What the encoder says it was trained on."""
    same_camera_removed: bool
    gallery: int
    ranking: Ranking
    reranked: Ranking | None
    """After k-reciprocal re-ranking; None: it was not asked for."""

    @property
    def is_cross_domain(self) -> bool:
        """Whether the encoder was trained on other sets alone."""
        return _bare(self.protocol) not in _bare(self.learned_on)

    def as_json(self) -> dict[str, Any]:
        """Plain values; ranks by `rank_K`."""
        made = asdict(self) | {"cross_domain": self.is_cross_domain}
        for name in ("ranking", "reranked"):
            told: Ranking | None = getattr(self, name)
            if told is not None:
                made[name].pop("rank")
                made[name] |= {f"rank_{k}": rate for k, rate in told.rank}
        return made


def measure(
    one: ReidSet, embed: EmbedCrops, encoder: str, learned_on: str, *, reranked: bool, bars_kept: bool = False
) -> Measured:
    """Embed a set and rank it.

    Args:
        one: the set.
        embed: the encoder.
        encoder: its name.
        learned_on: what it was trained on.
        reranked: whether re-ranking is measured too.
        bars_kept: whether the black bars of a letterboxed set are shown to the encoder all the same.

    Raises:
        InvalidInputError: a picture cannot be read, or no probe has a mate.
    """
    bare = one.letterboxed and not bars_kept
    probes, gallery = (embed_files(some, embed, bare=bare) for some in (one.probes, one.gallery))
    seen, removed = (seen_on(one.probes), seen_on(one.gallery)), one.same_camera_removed
    ranking = rank_gallery(probes @ gallery.T, *seen, same_camera_removed=removed)
    again = rank_gallery(rerank(probes, gallery), *seen, same_camera_removed=removed) if reranked else None
    return Measured(one.protocol, encoder, learned_on, removed, len(gallery), ranking, again)


def embed_files(pictures: Sequence[Picture], embed: EmbedCrops, *, bare: bool = False) -> Vectors:
    """Read, stretch and embed pictures, some at a time: (n, d); black bars are cut off first where `bare`."""
    batches = (pictures[at : at + _BATCH] for at in range(0, len(pictures), _BATCH))
    return np.concatenate([embed(np.stack(list(_crops(batch, bare=bare)))) for batch in batches])


def _crops(pictures: Iterable[Picture], *, bare: bool) -> Iterable[Image]:
    for picture in pictures:
        image = cv2.imread(str(picture.path), cv2.IMREAD_COLOR)
        if image is None:
            raise InvalidInputError("picture", picture.path.name, "a file that can be read as a picture")
        whole = image.astype(np.uint8, copy=False)
        yield fit_crop(without_bars(whole) if bare else whole)


def _bare(words: str) -> str:
    return "".join(letter for letter in words.lower() if letter.isalnum())
