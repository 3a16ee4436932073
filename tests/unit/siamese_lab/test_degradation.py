"""Degraded frames: the same by the same seed, worse by a worse severity, and each ill does what it says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from siamese_lab.degradation import Degradation, Severity, degraded_jpeg, draw_degradation
from tessera.domain.errors import InvalidInputError
from tessera.imaging.decode import Image


def _picture() -> Image:
    rng = np.random.default_rng(1)
    coarse = np.repeat(rng.integers(40, 130, (20, 24, 1)), 3, axis=2).astype(np.uint8)
    return cv2.resize(coarse, (120, 100), interpolation=cv2.INTER_NEAREST).astype(np.uint8)


def _frame(ills: Degradation, seed: int = 1) -> Image:
    data = degraded_jpeg(_picture(), ills, np.random.default_rng(seed))
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def _error(frame: Image) -> float:
    whole = cv2.resize(frame, (120, 100), interpolation=cv2.INTER_CUBIC)
    return float(np.abs(whole.astype(float) - _picture()).mean())


def test_the_seed_decides() -> None:
    """The same seed makes the same bytes, another seed others."""
    ills = draw_degradation(Severity.SEVERE, np.random.default_rng(3))
    assert ills == draw_degradation(Severity.SEVERE, np.random.default_rng(3))
    assert ills != draw_degradation(Severity.SEVERE, np.random.default_rng(4))
    assert degraded_jpeg(_picture(), ills, np.random.default_rng(5)) == degraded_jpeg(
        _picture(), ills, np.random.default_rng(5)
    )
    assert degraded_jpeg(_picture(), ills, np.random.default_rng(5)) != degraded_jpeg(
        _picture(), ills, np.random.default_rng(6)
    )


def test_worse_severities_are_worse() -> None:
    """On average a frame of a worse severity is further from the picture."""
    means = []
    for severity in Severity:
        rng = np.random.default_rng(7)
        means.append(np.mean([_error(_frame(draw_degradation(severity, rng), seed)) for seed in range(30)]))
    assert means == sorted(means)
    assert means[0] < means[-1]


@pytest.mark.parametrize(
    "ills",
    [
        Degradation(scale=0.4),
        Degradation(blur_sigma_px=2.0),
        Degradation(motion_px=6.0),
        Degradation(gain=0.5),
        Degradation(gain=1.8),
        Degradation(noise_levels=12.0),
        Degradation(jpeg_quality=8),
    ],
    ids=repr,
)
def test_each_ill_takes_the_frame_from_the_picture(ills: Degradation) -> None:
    """Alone, each of them moves the pixels further than saving does."""
    assert _error(_frame(ills)) > 1.3 * _error(_frame(Degradation()))


def test_sides_and_light_are_as_told() -> None:
    """Half the sides are half as many pixels; half the gain is half the light."""
    assert _frame(Degradation(scale=0.5)).shape == (50, 60, 3)
    assert _frame(Degradation(gain=0.5)).mean() == pytest.approx(_picture().mean() / 2, rel=0.02)


def test_motion_blurs_along_its_angle_alone() -> None:
    """A move to the side wipes out upright stripes and leaves lying ones; a move downwards the other way round."""
    upright = np.tile(np.array([40] * 4 + [200] * 4, np.uint8), (64, 8))
    lying = np.ascontiguousarray(upright.T)
    for angle_rad, wiped, left in ((0.0, upright, lying), (np.pi / 2, lying, upright)):
        moved = Degradation(motion_px=8.0, motion_angle_rad=angle_rad)
        deviations = []
        for stripes in (wiped, left):
            data = degraded_jpeg(np.repeat(stripes[..., None], 3, axis=2), moved, np.random.default_rng(1))
            frame = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE), np.float64)
            deviations.append(float(frame[16:-16, 16:-16].std()))
            assert float(frame.mean()) == pytest.approx(120, rel=0.1)
        assert deviations[0] < 15
        assert deviations[1] > 70


@pytest.mark.parametrize(
    "ills", [Degradation(scale=0.0), Degradation(scale=1.5), Degradation(motion_px=-1.0)], ids=repr
)
def test_what_no_camera_does_is_refused(ills: Degradation) -> None:
    """A scale of 0 or above 1, and anything below 0."""
    with pytest.raises(InvalidInputError):
        _frame(ills)
