"""How well tracklets follow people: the metrics that the field compares trackers with, from boxes and names alone.

Written here because the libraries that have them do not fit beside this project: motmetrics 1.4 calls functions that
NumPy 2 has dropped, and trackeval 1.3 asks for opencv-python next to our opencv-python-headless. The numbers were held
against trackeval's once, on 200 random scenes, and are held against cases worked out by hand in each test run. They
differ in one thing: there a frame without any tracklet breaks no tracklet, and one in which a person is hidden does.

Sources: CLEAR MOT, Bernardin and Stiefelhagen (2008); IDF1, Ristani et al. (2016), arXiv:1609.01775; HOTA, Luiten et
al. (2021), arXiv:2009.07736.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from tessera.domain.observation import Box

Floats = npt.NDArray[np.float64]
HOTA_ALPHAS = np.arange(0.05, 0.99, 0.05)


@dataclass(frozen=True, slots=True)
class ScoredFrame:
    """One frame: where people are, and where tracklets say they are."""

    truth: Mapping[str, Box]
    told: Mapping[str, Box]


@dataclass(frozen=True, slots=True)
class TrackingScore:
    """How tracklets follow people."""

    truth_boxes: int
    told_boxes: int
    misses: int
    false_boxes: int
    id_switches: int
    """A person is followed by another tracklet than before."""
    fragmentations: int
    """A person who was followed, was to be seen and was not followed, and is again."""
    mota: float
    idf1: float
    hota: float
    tracklets_of: Mapping[str, int]
    """How many tracklets followed each person in turn; 0 for whom none ever did."""

    @property
    def followed(self) -> list[int]:
        """Tracklets of each person who was followed at all."""
        return [count for count in self.tracklets_of.values() if count]


def score(frames: Sequence[ScoredFrame], min_iou: float = 0.5) -> TrackingScore:
    """Score a clip.

    Args:
        frames: in order.
        min_iou: overlap from which on a tracklet is said to be where a person is.
    """
    clear = _Clear(min_iou)
    for frame in frames:
        clear.take(frame)
    truth_boxes = sum(len(frame.truth) for frame in frames)
    told_boxes = sum(len(frame.told) for frame in frames)
    misses, false_boxes = truth_boxes - clear.matches, told_boxes - clear.matches
    return TrackingScore(
        truth_boxes=truth_boxes,
        told_boxes=told_boxes,
        misses=misses,
        false_boxes=false_boxes,
        id_switches=clear.switches,
        fragmentations=clear.fragmentations,
        mota=1.0 - (misses + false_boxes + clear.switches) / max(truth_boxes, 1),
        idf1=_idf1(frames, min_iou),
        hota=_hota(frames),
        tracklets_of={name: len(clear.followers[name]) for frame in frames for name in frame.truth},
    )


class _Clear:
    """CLEAR MOT, frame by frame: a pair that held in the frame before holds on while it overlaps enough."""

    def __init__(self, min_iou: float) -> None:
        self._min_iou = min_iou
        self._last: dict[str, str] = {}
        self._in_last_frame: dict[str, str] = {}
        self._seen: set[str] = set()
        self.matches = self.switches = self.fragmentations = 0
        self.followers: dict[str, set[str]] = defaultdict(set)

    def take(self, frame: ScoredFrame) -> None:
        names, ids = list(frame.truth), list(frame.told)
        overlaps = _overlaps(frame)
        held = np.array([[self._in_last_frame.get(name) == tracklet for tracklet in ids] for name in names])
        gains = np.where(overlaps >= self._min_iou, overlaps + 1000.0 * held.reshape(overlaps.shape), 0.0)
        pairs = {
            names[row]: ids[column]
            for row, column in zip(*linear_sum_assignment(-gains), strict=True)
            if gains[row, column] > 0
        }
        for name, tracklet in pairs.items():
            self.switches += self._last.get(name, tracklet) != tracklet
            self.fragmentations += name in self._seen and name not in self._in_last_frame
            self.followers[name].add(tracklet)
        self.matches += len(pairs)
        self._last |= pairs
        self._seen |= set(pairs)
        hidden = {name: tracklet for name, tracklet in self._in_last_frame.items() if name not in frame.truth}
        self._in_last_frame = hidden | pairs


def _idf1(frames: Sequence[ScoredFrame], min_iou: float) -> float:
    """Boxes that the best one-to-one naming of tracklets by people gets right, as an F1."""
    both: Counter[tuple[str, str]] = Counter()
    for frame in frames:
        for (row, name), (column, tracklet) in _all_pairs(frame):
            both[name, tracklet] += _overlaps(frame)[row, column] >= min_iou
    names, ids = sorted({n for n, _ in both}), sorted({t for _, t in both})
    agreed = np.array([[both[name, tracklet] for tracklet in ids] for name in names]).reshape(len(names), len(ids))
    right = float(agreed[linear_sum_assignment(-agreed)].sum()) if agreed.size else 0.0
    boxes = sum(len(frame.truth) + len(frame.told) for frame in frames)
    return 2.0 * right / boxes if boxes else 1.0


def _hota(frames: Sequence[ScoredFrame]) -> float:
    """The mean over overlaps of 0.05 to 0.95 of sqrt(detection x association)."""
    counts = _Counts(
        truth=Counter(name for frame in frames for name in frame.truth),
        told=Counter(tracklet for frame in frames for tracklet in frame.told),
    )
    overlaps = [_overlaps(frame) for frame in frames]
    alignment = _alignment(frames, overlaps, counts)
    pairs = [_best_pairs(frame, overlap, alignment) for frame, overlap in zip(frames, overlaps, strict=True)]
    found = [pair for in_frame in pairs for pair in in_frame]
    return float(np.mean([_hota_at(float(alpha), found, counts) for alpha in HOTA_ALPHAS]))


@dataclass(frozen=True, slots=True)
class _Counts:
    """In how many frames each person and each tracklet is."""

    truth: Counter[str]
    told: Counter[str]


def _alignment(
    frames: Sequence[ScoredFrame], overlaps: Sequence[Floats], counts: _Counts
) -> dict[tuple[str, str], float]:
    """How much each person and each tracklet have in common over the whole clip: what each frame's pairing prefers."""
    together: dict[tuple[str, str], float] = defaultdict(float)
    for frame, overlap in zip(frames, overlaps, strict=True):
        rows, columns = overlap.sum(axis=1, keepdims=True), overlap.sum(axis=0, keepdims=True)
        either = rows + columns - overlap
        shares = np.divide(overlap, either, out=np.zeros_like(overlap), where=either > 0)
        for (row, name), (column, tracklet) in _all_pairs(frame):
            together[name, tracklet] += float(shares[row, column])
    return {
        (name, tracklet): common / (counts.truth[name] + counts.told[tracklet] - common)
        for (name, tracklet), common in together.items()
    }


def _best_pairs(
    frame: ScoredFrame, overlap: Floats, alignment: Mapping[tuple[str, str], float]
) -> list[tuple[tuple[str, str], float]]:
    """Who is paired with which tracklet in a frame, and how much the two overlap."""
    gains = np.zeros_like(overlap)
    for (row, name), (column, tracklet) in _all_pairs(frame):
        gains[row, column] = alignment[name, tracklet] * overlap[row, column]
    names, ids = list(frame.truth), list(frame.told)
    return [
        ((names[row], ids[column]), float(overlap[row, column]))
        for row, column in zip(*linear_sum_assignment(-gains), strict=True)
    ]


def _hota_at(alpha: float, found: Sequence[tuple[tuple[str, str], float]], counts: _Counts) -> float:
    matched = Counter(pair for pair, overlap in found if overlap >= alpha - np.finfo(float).eps)
    hits = matched.total()
    if not hits:
        return 0.0
    detection = hits / (counts.truth.total() + counts.told.total() - hits)
    association = sum(
        count * count / (counts.truth[name] + counts.told[tracklet] - count)
        for (name, tracklet), count in matched.items()
    )
    return float(np.sqrt(detection * association / hits))


def _overlaps(frame: ScoredFrame) -> Floats:
    overlaps = [[person.iou(told) for told in frame.told.values()] for person in frame.truth.values()]
    return np.array(overlaps, dtype=np.float64).reshape(len(frame.truth), len(frame.told))


def _all_pairs(frame: ScoredFrame) -> list[tuple[tuple[int, str], tuple[int, str]]]:
    return [(person, told) for person in enumerate(frame.truth) for told in enumerate(frame.told)]
