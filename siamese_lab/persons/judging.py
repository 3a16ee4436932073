"""Person networks as they will be served, judged on crops: who is found among others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from siamese_lab.persons.cameras import CameraChanges, seen_by_another, without_bars
from siamese_lab.persons.data import People
from tessera.domain.ranking import Ranking, Seen, rank_gallery
from tessera.imaging.person import fit_crop, person_input
from tessera.nets.runtime import Network

Vectors = npt.NDArray[np.float32]

PROBES_A_PERSON = 4


def embed_crops(network: Network, crops: npt.NDArray[np.uint8], rows: int = 64) -> Vectors:
    """Unit embeddings of crops: (n, 128, 64, 3) -> float32 (n, d)."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(crops), rows):
            made = network(torch.from_numpy(person_input(list(crops[start : start + rows]))))
            parts.append(nn.functional.normalize(made, dim=1).numpy())
    return np.concatenate(parts)


def rank_people(network: Network, probes: People, gallery: People) -> Ranking:
    """Search every probe in the gallery by cosine; no camera is known."""
    scores = embed_crops(network, probes.crops) @ embed_crops(network, gallery.crops).T
    return rank_gallery(scores, Seen(probes.person), Seen(gallery.person), same_camera_removed=False)


class Validation:
    """Pictures of people that nothing is learned from: as they are, without bars, and by other cameras.

    Args:
        people: the validation people.
        seed: of the other cameras, the same in each look.
    """

    def __init__(self, people: People, seed: int = 3) -> None:
        rng = np.random.default_rng(seed)
        probe = np.zeros(len(people.person), np.bool_)
        for one in np.unique(people.person):
            probe[rng.choice(np.flatnonzero(people.person == one), PROBES_A_PERSON, replace=False)] = True
        self._probes, self._gallery = people.of(probe), people.of(~probe)
        changes = CameraChanges(unboxed=0.0)
        shifted = [
            seen_by_another(crop, people.crops[int(rng.integers(len(people.crops)))], changes, rng)
            for crop in self._probes.crops
        ]
        self._shifted = People(np.stack(shifted), self._probes.person, self._probes.names)

    def judge(self, network: Network) -> Mapping[str, float]:
        """mAP of three looks."""
        bare = [
            People(np.stack([fit_crop(without_bars(crop)) for crop in one.crops]), one.person, one.names)
            for one in (self._probes, self._gallery)
        ]
        looks = {
            "map": (self._probes, self._gallery), "map_unboxed": (bare[0], bare[1]),
            "map_shifted": (self._shifted, self._gallery),
        }  # fmt: skip
        return {name: round(rank_people(network, *look).mean_ap, 4) for name, look in looks.items()}
