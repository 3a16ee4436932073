"""What training does to canvases, and what it leaves."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from signature_world import canvases

from siamese_lab.signatures.distortion import (
    NO_DISTORTION,
    Disguise,
    Disguises,
    Distortion,
    distort,
    draw_disguise,
    join,
)
from tessera.imaging.signature import CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX

WORLD = canvases(writers=2, genuine=1, forged=1)


def alike(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation, softened by a pixel."""
    soft = [cv2.GaussianBlur(seen.astype(np.float32), (0, 0), 1.0).ravel() for seen in (first, second)]
    return float(np.corrcoef(*soft)[0, 1])


def plain(large: np.ndarray, disguise: Disguise) -> np.ndarray:
    """A canvas with a disguise and nothing else."""
    return distort(large, disguise, NO_DISTORTION, np.random.default_rng(0))


def test_without_distortion_serving_s_canvas_is_left() -> None:
    """No disguise and no distortion: the canvas that serving makes, to a pixel's interpolation."""
    for small, large in zip(WORLD.small, WORLD.large, strict=True):
        assert alike(plain(large, Disguise()), small / 255.0) > 0.97


@pytest.mark.parametrize(("disguise", "axis"), [(Disguise(mirrored=True), 1), (Disguise(upside_down=True), 0)])
def test_mirror_images(disguise: Disguise, axis: int) -> None:
    """Mirrored is mirrored: to a pixel's interpolation the flipped canvas."""
    straight, mirrored = plain(WORLD.large[0], Disguise()), plain(WORLD.large[0], disguise)
    assert alike(np.flip(straight, axis), mirrored) > 0.9


def test_a_window_leaves_a_part() -> None:
    """Half of the width has less ink than the whole at the same scale, and fills the canvas again."""
    cut = plain(WORLD.large[0], Disguise(window=(0.0, 0.5)))
    assert cut.shape == (CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX)
    assert alike(cut, plain(WORLD.large[0], Disguise())) < 0.7


def test_each_distortion_stays_a_canvas() -> None:
    """Whatever is drawn: float32 in [0, 1], mostly white paper, with ink."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        seen = distort(WORLD.large[int(rng.integers(4))], draw_disguise(rng, Disguises()), Distortion(), rng)
        assert seen.dtype == np.float32
        assert seen.shape == (CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX)
        assert seen.min() == 0.0
        assert seen.max() <= 1.0
        assert np.median(seen) == 0.0
        assert seen.mean() > 0.005


def test_pens_vary_and_strokes_stay() -> None:
    """Pen widths differ by more than a third between draws, and the strokes stay where they are."""
    pens = replace(NO_DISTORTION, pen=1.0)
    drawn = [distort(WORLD.large[0], Disguise(), pens, np.random.default_rng(seed)) for seed in range(20)]
    ink = [float(seen.mean()) for seen in drawn]
    assert max(ink) > 1.33 * min(ink)
    assert min(alike(drawn[0], other) for other in drawn) > 0.6


def test_empty_canvases_stay_empty() -> None:
    """Where there is no ink there is none afterwards."""
    nothing = np.zeros_like(WORLD.large[0])
    assert not distort(nothing, Disguise(), Distortion(), np.random.default_rng(0)).any()


def test_joined_signatures_stand_side_by_side() -> None:
    """Both are there, beside each other, on one canvas."""
    joined = join(WORLD.large[0], WORLD.large[2], 20)
    assert joined.shape == WORLD.large[0].shape
    columns = np.flatnonzero(joined.max(0))
    inner = joined[:, columns[0] : columns[-1]].max(0)
    assert (inner == 0).any()
    assert joined[:, : joined.shape[1] // 2].any()
    assert joined[:, joined.shape[1] // 2 :].any()
