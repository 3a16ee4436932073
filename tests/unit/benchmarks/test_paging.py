"""The benchmark of pages: its claims score what they are meant to, and its camera freezes."""

from __future__ import annotations

import urllib.request

import numpy as np
import pytest

from benchmarks.operations.paging import DRIFT_SIGMAS, Claims
from benchmarks.operations.still_camera import still_camera
from tessera.domain.embedding import Embedding, cosine_score


class _Gallery:
    """Answers what a claim scores."""

    def __init__(self) -> None:
        self.template: Embedding | None = None
        self.scores: list[float] = []

    def enroll(self, subject_id: str, embedding: Embedding, **_: str) -> None:
        self.template = embedding

    def verify(self, subject_id: str, probe: Embedding) -> None:
        assert self.template is not None
        self.scores.append(cosine_score(self.template, probe))


def test_claims_score_as_the_calibration_measured_and_move_by_sigmas() -> None:
    """The mean moves by so many standard deviations, and the spread stays."""
    gallery = _Gallery()
    claims = Claims(gallery)  # type: ignore[arg-type]
    claims.enroll_claimed()
    claims.make(4000, 0.0)
    plain, gallery.scores = np.array(gallery.scores), []
    claims.make(4000, -DRIFT_SIGMAS)
    moved = np.array(gallery.scores)
    assert plain.std() == pytest.approx(claims.sigma, rel=0.05)
    assert (moved.mean() - plain.mean()) / claims.sigma == pytest.approx(-DRIFT_SIGMAS, abs=0.07)
    assert moved.std() == pytest.approx(plain.std(), rel=0.05)


def test_a_camera_shows_noise_until_it_is_frozen() -> None:
    """Then every picture is the same, to the byte."""
    with (
        still_camera() as camera,
        urllib.request.urlopen(camera.url, timeout=30) as stream,  # noqa: S310 - http on loopback
    ):
        lively = [_picture(stream) for _ in range(3)]
        camera.freeze()
        _picture(stream)
        still = [_picture(stream) for _ in range(3)]
    assert len(set(lively)) == 3
    assert len(set(still)) == 1


def _picture(stream: object) -> bytes:
    read = stream.readline  # type: ignore[attr-defined]
    while not (line := read()).startswith(b"Content-Length"):
        pass
    read()
    taken: bytes = stream.read(int(line.partition(b":")[2]))  # type: ignore[attr-defined]
    return taken
